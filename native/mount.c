// Mounting, and the descriptors that mounting needs.
#include "addon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#define FUSE_DEVICE "/dev/fuse"

static napi_value openFuseDevice(napi_env env, napi_callback_info info) {
  (void)info;
  const int fd = open(FUSE_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd >= 0) return make_number(env, fd);
  throw_system_error(env, errno, "open", FUSE_DEVICE);
  return NULL;
}

// (source, target, type, flags, data)
static napi_value mountFileSystem(napi_env env, napi_callback_info info) {
  napi_value arguments[5];
  char *source = NULL, *target = NULL, *type = NULL, *data = NULL;
  uint32_t flags;
  if (get_arguments(env, info, 5, arguments) && get_string(env, arguments[0], &source) &&
      get_string(env, arguments[1], &target) && get_string(env, arguments[2], &type) &&
      get_uint32(env, arguments[3], &flags) && get_string(env, arguments[4], &data)) {
    if (mount(source, target, type, flags, data) != 0) throw_system_error(env, errno, "mount", target);
  }
  free(source);
  free(target);
  free(type);
  free(data);
  return NULL;
}

// (target, flags)
static napi_value unmountFileSystem(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  char *target = NULL;
  int flags;
  if (get_arguments(env, info, 2, arguments) && get_int(env, arguments[1], &flags) &&
      get_string(env, arguments[0], &target)) {
    if (umount2(target, flags) != 0) throw_system_error(env, errno, "umount2", target);
  }
  free(target);
  return NULL;
}

static napi_value socketPair(napi_env env, napi_callback_info info) {
  (void)info;
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    throw_system_error(env, errno, "socketpair", NULL);
    return NULL;
  }
  napi_value pair = NULL;
  napi_create_array_with_length(env, 2, &pair);
  for (uint32_t i = 0; i < 2; i++) napi_set_element(env, pair, i, make_number(env, sockets[i]));
  return pair;
}

// The descriptor that came with the next byte, or a negative errno; ENOMSG when the message carried none.
static int receive(int socket) {
  char byte;
  struct iovec vector = {.iov_base = &byte, .iov_len = 1};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t received;
  do received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (received < 0 && errno == EINTR);
  if (received < 0) return -errno;
  if (received == 0) return -ECONNRESET;

  const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(sizeof(int)))
    return -ENOMSG;
  int fd;
  memcpy(&fd, CMSG_DATA(header), sizeof fd);
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    const int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}

// (socket)
static napi_value receiveDescriptor(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  int socket;
  if (!get_arguments(env, info, 1, arguments) || !get_int(env, arguments[0], &socket)) return NULL;
  const int fd = receive(socket);
  if (fd >= 0) return make_number(env, fd);
  throw_system_error(env, -fd, "recvmsg", NULL);
  return NULL;
}

bool register_mount(napi_env env, napi_value exports) {
  static const Export functions[] = {
      {"openFuseDevice", openFuseDevice}, {"mount", mountFileSystem},
      {"unmount", unmountFileSystem},     {"socketPair", socketPair},
      {"receiveDescriptor", receiveDescriptor},
  };
  return export_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
