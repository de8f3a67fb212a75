// The device loop: reads requests from /dev/fuse on the event loop of the calling environment, hands each to
// JavaScript and writes the answer. It knows nothing of what the bytes mean.
//
// Waking a sleeping thread costs about as much as a whole request, so after a request the loop keeps reading for up to spinMicros, while
// recent requests came close enough together for that to pay and nobody else wants the processor, and otherwise sleeps in epoll.
//
// Who waits for an answer has an idle processor meanwhile, and one that has halted takes longer to wake than the answer takes to make, on a
// virtual machine most of all. So while the loop spins the kernel may be asked to let idle processors spin too (PM QoS,
// Documentation/power/pm_qos_interface.rst).
#include "addon.h"
#include "scheduling.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

// A request found by epoll came earlier by the time it took to wake up: 10 us on one core, up to 60 us across two of a VM.
#define WAKE_UP_NS 60000
// The longest that a client takes between two requests of one commit: messages and timers wait for so long, and no longer.
#define THINKING_NS 30000
// Share of recent gaps within reach of a spin, as a moving average over about four of them, in 1/1024.
#define REACH_ONE 1024
#define REACH_SHIFT 2
// How long the loop sleeps, not spins, after a yield that took longer than a spin: who sleeps is woken, who has yielded waits for his turn.
#define CROWDED_NS 100000000
// How long idle processors are kept from halting after the loop has gone to sleep: most bursts go on by then.
#define AWAKE_MS 10

typedef struct {
  napi_env env;
  uv_poll_t poll;
  uv_idle_t idle;  // active while spinning: epoll then returns at once, so timers and messages get their turn
  uv_timer_t awake;  // until idle processors may halt again
  napi_async_context context;
  napi_async_cleanup_hook_handle cleanup;
  napi_ref on_request, on_end, request_array, reply_array;
  Bytes request, reply;
  int fd;
  int latency_fd;  // of /dev/cpu_dma_latency, or -1
  bool kept_awake;
  uint64_t spin_ns, stay_ns;
  uint64_t answered_ns;  // when the last request was done with
  uint64_t crowded_ns;  // until when somebody else wants the processor
  uint32_t reach;
  bool gap_judged;  // the gap running now was already counted as out of reach
  bool stopped;
  int open_handles;
  int owners;  // the loop and the JavaScript handle
} Device;

static void release(Device *device) {
  if (--device->owners == 0) free(device);
}

static void delete_references(Device *device) {
  const napi_ref references[] = {device->on_request, device->on_end, device->request_array, device->reply_array};
  for (size_t i = 0; i < sizeof references / sizeof *references; i++)
    if (references[i] != NULL) napi_delete_reference(device->env, references[i]);
}

static void closed(uv_handle_t *handle) {
  Device *device = handle->data;
  if (--device->open_handles > 0) return;
  napi_env env = device->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) == napi_ok) {
    delete_references(device);
    napi_async_destroy(env, device->context);
    napi_close_handle_scope(env, scope);
  }
  napi_remove_async_cleanup_hook(device->cleanup);
  release(device);
}

static void ask_latency(Device *device, int32_t micros) {
  if (device->latency_fd >= 0 && !ask_wake_up(device->latency_fd, micros)) device->latency_fd = -1;
}

static void let_halt(uv_timer_t *handle) {
  Device *device = handle->data;
  if (device->kept_awake) ask_latency(device, ANY_LATENCY);
  device->kept_awake = false;
}

static void start_spinning(Device *device, uv_idle_cb spin) {
  uv_idle_start(&device->idle, spin);
  uv_timer_stop(&device->awake);
  if (!device->kept_awake) ask_latency(device, 0);
  device->kept_awake = true;
}

static void stop_spinning(Device *device) {
  uv_idle_stop(&device->idle);
  uv_timer_start(&device->awake, let_halt, AWAKE_MS, 0);
}

static void stop(Device *device) {
  if (device->stopped) return;
  device->stopped = true;
  let_halt(&device->awake);
  uv_close((uv_handle_t *)&device->poll, closed);
  uv_close((uv_handle_t *)&device->idle, closed);
  uv_close((uv_handle_t *)&device->awake, closed);
}

static void environment_ends(napi_async_cleanup_hook_handle handle, void *data) {
  (void)handle;
  stop(data);
}

// Calls JavaScript with its microtasks; what it throws becomes an uncaught exception. NULL when there is no result.
static napi_value call(Device *device, napi_ref function, napi_value argument) {
  napi_env env = device->env;
  napi_value receiver, callback, result;
  if (napi_get_global(env, &receiver) != napi_ok ||
      napi_get_reference_value(env, function, &callback) != napi_ok) {
    stop(device);
    return NULL;
  }
  const napi_status status = napi_make_callback(env, device->context, receiver, callback, 1, &argument, &result);
  if (status == napi_ok) return result;
  napi_value exception;
  if (status == napi_pending_exception && napi_get_and_clear_last_exception(env, &exception) == napi_ok)
    napi_fatal_exception(env, exception);
  else
    stop(device);  // the environment no longer runs JavaScript: a worker being terminated
  return NULL;
}

static void finish(Device *device, int error) {
  stop(device);
  napi_handle_scope scope;
  if (napi_open_handle_scope(device->env, &scope) != napi_ok) return;
  napi_value argument = NULL;
  if (error == ENODEV)
    napi_get_undefined(device->env, &argument);
  else
    argument = make_system_error(device->env, error, "read", NULL);
  if (argument != NULL) call(device, device->on_end, argument);
  napi_close_handle_scope(device->env, scope);
}

static int write_once(int fd, const uint8_t *data, size_t length) {
  ssize_t count;
  do count = write(fd, data, length);
  while (count < 0 && errno == EINTR);
  return count < 0 ? errno : 0;
}

// Returns 0 or the errno of a write that failed because of us or because the device is gone.
static int write_reply(Device *device, napi_value result) {
  uint32_t length;
  if (napi_get_value_uint32(device->env, result, &length) != napi_ok || length > device->reply.length) return EMSGSIZE;
  if (length == 0) return 0;
  const int error = write_once(device->fd, device->reply.data, length);
  return error == ENOENT ? 0 : error;
}

static void handle_request(Device *device, size_t length) {
  napi_env env = device->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) {
    stop(device);
    return;
  }
  int error = 0;
  napi_value result = call(device, device->on_request, make_number(env, (double)length));
  if (result != NULL) error = write_reply(device, result);
  if (error != 0 && error != ENODEV) {
    napi_value exception = make_system_error(env, error, "write", NULL);
    if (exception != NULL) napi_fatal_exception(env, exception);
  }
  napi_close_handle_scope(env, scope);
  if (error == ENODEV && !device->stopped) finish(device, ENODEV);
}

static void judge_gap(Device *device, bool within_reach) {
  device->reach -= device->reach >> REACH_SHIFT;
  if (within_reach) device->reach += REACH_ONE >> REACH_SHIFT;
}

static bool spins(const Device *device, uint64_t now) {
  if (now < device->crowded_ns) return false;
  return device->reach > REACH_ONE / 2 && now - device->answered_ns < device->spin_ns;
}

static void judge_arrival(Device *device, uint64_t now, bool woken) {
  if (!device->gap_judged)
    judge_gap(device, now - device->answered_ns < device->spin_ns + (woken ? WAKE_UP_NS : 0));
  device->gap_judged = false;
}

static void idled(uv_idle_t *handle);

// One turn: at most stay_ns, then back to the event loop.
static void serve(Device *device, bool woken) {
  const uint64_t entered = uv_hrtime();
  uint64_t now = entered;
  while (!device->stopped && now - entered < device->stay_ns) {
    const ssize_t length = read(device->fd, device->request.data, device->request.length);
    if (length >= 0) {
      judge_arrival(device, uv_hrtime(), woken);
      woken = false;
      handle_request(device, (size_t)length);
      device->answered_ns = now = uv_hrtime();
    } else if (errno == EAGAIN) {
      if (!spins(device, now)) {
        if (uv_is_active((uv_handle_t *)&device->idle)) {
          stop_spinning(device);
          if (!device->gap_judged) judge_gap(device, false);
          device->gap_judged = true;
        }
        return;
      }
      const uint64_t yielded = now;
      sched_yield();
      now = uv_hrtime();
      if (now - yielded > device->spin_ns) device->crowded_ns = now + CROWDED_NS;
      if (now - device->answered_ns > THINKING_NS) break;
    } else if (errno == EINTR || errno == ENOENT) {
      now = uv_hrtime();
    } else {
      finish(device, errno);
      return;
    }
  }
  if (!device->stopped) start_spinning(device, idled);
}

static void idled(uv_idle_t *handle) { serve(handle->data, false); }

static void readable(uv_poll_t *handle, int status, int events) {
  (void)events;
  Device *device = handle->data;
  serve(device, !uv_is_active((uv_handle_t *)&device->idle));
  // libuv stops polling on an error condition. Reading has told what it was, unless it has passed.
  if (status < 0 && !device->stopped) uv_poll_start(&device->poll, UV_READABLE, readable);
}

static void handle_collected(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  release(data);
}

// (fd, request, reply, onRequest, onEnd, spinMicros, stayMicros, latencyFd)
static bool read_arguments(napi_env env, napi_callback_info info, Device *device) {
  napi_value arguments[8];
  uint64_t spin_micros, stay_micros;
  if (!get_arguments(env, info, 8, arguments) || !get_int(env, arguments[0], &device->fd) ||
      !get_bytes(env, arguments[1], &device->request) || !get_bytes(env, arguments[2], &device->reply) ||
      !get_size(env, arguments[5], &spin_micros) || !get_size(env, arguments[6], &stay_micros) || !get_int(env, arguments[7], &device->latency_fd))
    return false;
  napi_valuetype types[2];
  napi_typeof(env, arguments[3], &types[0]);
  napi_typeof(env, arguments[4], &types[1]);
  if (types[0] != napi_function || types[1] != napi_function) {
    throw_type(env, "Expected two functions");
    return false;
  }
  device->spin_ns = spin_micros * 1000;
  device->stay_ns = stay_micros * 1000;
  napi_create_reference(env, arguments[1], 1, &device->request_array);
  napi_create_reference(env, arguments[2], 1, &device->reply_array);
  napi_create_reference(env, arguments[3], 1, &device->on_request);
  napi_create_reference(env, arguments[4], 1, &device->on_end);
  return true;
}

static bool open_handles(Device *device) {
  napi_env env = device->env;
  uv_loop_t *loop;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) {
    throw_type(env, "No event loop");
    return false;
  }
  const int status = uv_poll_init(loop, &device->poll, device->fd);
  if (status < 0) {
    throw_system_error(env, -status, "epoll_ctl", NULL);
    return false;
  }
  uv_idle_init(loop, &device->idle);
  uv_timer_init(loop, &device->awake);
  device->poll.data = device->idle.data = device->awake.data = device;
  device->open_handles = 3;
  uv_poll_start(&device->poll, UV_READABLE, readable);
  return true;
}

static napi_value startDevice(napi_env env, napi_callback_info info) {
  Device *device = calloc(1, sizeof *device);
  if (device == NULL) {
    throw_system_error(env, ENOMEM, "malloc", NULL);
    return NULL;
  }
  device->env = env;
  napi_value name, handle;
  if (!read_arguments(env, info, device) || !open_handles(device)) {
    delete_references(device);
    free(device);
    return NULL;
  }
  device->owners = 2;
  if (device->spin_ns > 0) ask_short_turns();
  napi_create_string_utf8(env, "litefs.device", NAPI_AUTO_LENGTH, &name);
  napi_async_init(env, NULL, name, &device->context);
  napi_add_async_cleanup_hook(env, environment_ends, device, &device->cleanup);
  napi_create_external(env, device, handle_collected, NULL, &handle);
  return handle;
}

// (handle)
static napi_value stopDevice(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  void *device;
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (napi_get_value_external(env, arguments[0], &device) != napi_ok) {
    throw_type(env, "Expected a handle of startDevice");
    return NULL;
  }
  stop(device);
  return NULL;
}

// (fd, buffer, length)
static napi_value writeDevice(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  int fd;
  Bytes bytes;
  uint64_t length;
  if (!get_arguments(env, info, 3, arguments) || !get_int(env, arguments[0], &fd) ||
      !get_bytes(env, arguments[1], &bytes) || !get_size(env, arguments[2], &length))
    return NULL;
  if (length > bytes.length) {
    throw_range(env, "Length lies outside of the buffer");
    return NULL;
  }
  return make_number(env, write_once(fd, bytes.data, length));
}

bool register_device(napi_env env, napi_value exports) {
  static const Export functions[] = {
      {"startDevice", startDevice}, {"stopDevice", stopDevice}, {"writeDevice", writeDevice}};
  return export_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
