// Work on libuv's thread pool. Each job owns copies of its arguments and references to the arrays it touches, so any
// number of them may run at once, started from any thread of Node.
#include "pool.h"
#include "crc64.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void free_job(napi_env env, Job *job) {
  if (job->kept != NULL) napi_delete_reference(env, job->kept);
  for (uint32_t i = 0; i < job->file_count; i++) {
    free(job->files[i].path);
    free(job->files[i].via);
  }
  free(job->files);
  free(job);
}

Job *new_job(napi_env env) {
  Job *job = calloc(1, sizeof *job);
  if (job == NULL) throw_system_error(env, ENOMEM, "malloc", NULL);
  return job;
}

static void complete(napi_env env, napi_status status, void *data) {
  Job *job = data;
  if (status == napi_cancelled) job->error = ECANCELED;
  napi_value value =
      job->error != 0 ? make_system_error(env, job->error, job->syscall, NULL) : job->result(env, job);
  // Without a value the environment is being torn down and nobody waits any more.
  if (value != NULL) {
    if (job->error != 0)
      napi_reject_deferred(env, job->deferred, value);
    else
      napi_resolve_deferred(env, job->deferred, value);
  }
  napi_delete_async_work(env, job->work);
  free_job(env, job);
}

napi_value start_job(napi_env env, Job *job, const char *name, napi_async_execute_callback execute) {
  napi_value promise, resource;
  if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &resource) == napi_ok &&
      napi_create_async_work(env, NULL, resource, execute, complete, job, &job->work) == napi_ok) {
    if (napi_create_promise(env, &job->deferred, &promise) == napi_ok && napi_queue_async_work(env, job->work) == napi_ok)
      return promise;
    napi_delete_async_work(env, job->work);
  }
  free_job(env, job);
  throw_type(env, "Cannot queue work");
  return NULL;
}

// Reads until the buffer is full or the file ends. Returns the bytes read or a negative errno.
static ssize_t read_fully(int fd, uint8_t *buffer, size_t length, off_t offset) {
  size_t done = 0;
  while (done < length) {
    const ssize_t count = pread(fd, buffer + done, length - done, offset + (off_t)done);
    if (count > 0)
      done += (size_t)count;
    else if (count == 0)
      break;
    else if (errno != EINTR)
      return -errno;
  }
  return (ssize_t)done;
}

// Fits the second-level cache, so that the checksum reads what was just copied there; holds the largest page.
#define CHUNK_BYTES (128 * 1024)

static void checksum_pages(napi_env env, void *data) {
  (void)env;
  Job *job = data;
  uint8_t *buffer = aligned_alloc(4096, CHUNK_BYTES);
  if (buffer == NULL) {
    job->error = ENOMEM;
    return;
  }
  const uint64_t chunk_pages = CHUNK_BYTES / job->page_size;
  while (job->pages_read < job->page_count) {
    const uint64_t left = job->page_count - job->pages_read;
    const size_t wanted = (left < chunk_pages ? left : chunk_pages) * job->page_size;
    const uint64_t page = job->first_page + job->pages_read;
    const ssize_t count = read_fully(job->fd, buffer, wanted, (off_t)((page - 1) * job->page_size));
    if (count < 0) {
      job->error = (int)-count;
      break;
    }
    const uint64_t pages = (size_t)count / job->page_size;
    for (uint64_t i = 0; i < pages; i++) {
      const uint64_t crc = crc64_page((uint32_t)(page + i), buffer + i * job->page_size, job->page_size);
      uint32_t *out = job->checksums + 2 * (job->pages_read + i);
      out[0] = (uint32_t)(crc >> 32);
      out[1] = (uint32_t)crc;
    }
    job->pages_read += pages;
    if ((size_t)count < wanted) break;
  }
  free(buffer);
}

static napi_value pages_read(napi_env env, const Job *job) { return make_number(env, (double)job->pages_read); }

bool keep(napi_env env, Job *job, napi_value object) {
  if (napi_create_reference(env, object, 1, &job->kept) == napi_ok) return true;
  throw_type(env, "Cannot keep a reference");
  return false;
}

// (fd, pageSize, firstPgno, pageCount, out, index)
static bool read_checksum_arguments(napi_env env, napi_callback_info info, Job *job) {
  napi_value arguments[6];
  Words out;
  uint64_t page_size, index;
  if (!get_arguments(env, info, 6, arguments) || !get_int(env, arguments[0], &job->fd) ||
      !get_size(env, arguments[1], &page_size) || !get_uint32(env, arguments[2], &job->first_page) ||
      !get_size(env, arguments[3], &job->page_count) || !get_words(env, arguments[4], &out) ||
      !get_size(env, arguments[5], &index))
    return false;
  if (page_size < 512 || page_size > 65536 || (page_size & (page_size - 1)) != 0) {
    throw_range(env, "The page size is not one of SQLite's");
    return false;
  }
  const uint64_t room = out.length / 2;
  if (job->first_page == 0 || index > room || job->page_count > room - index) {
    throw_range(env, "Pages lie outside of the checksums");
    return false;
  }
  job->page_size = page_size;
  job->checksums = out.data + 2 * index;
  return keep(env, job, arguments[4]);
}

static napi_value checksumPages(napi_env env, napi_callback_info info) {
  Job *job = new_job(env);
  if (job == NULL) return NULL;
  if (!read_checksum_arguments(env, info, job)) {
    free_job(env, job);
    return NULL;
  }
  job->syscall = "read";
  job->result = pages_read;
  return start_job(env, job, "litefs.checksumPages", checksum_pages);
}

static void sync_file_system(napi_env env, void *data) {
  (void)env;
  Job *job = data;
  if (syncfs(job->fd) != 0) job->error = errno;
}

static napi_value nothing(napi_env env, const Job *job) {
  (void)job;
  napi_value result = NULL;
  napi_get_undefined(env, &result);
  return result;
}

// (fd)
static napi_value syncFileSystem(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  int fd;
  if (!get_arguments(env, info, 1, arguments) || !get_int(env, arguments[0], &fd)) return NULL;
  Job *job = new_job(env);
  if (job == NULL) return NULL;
  job->fd = fd;
  job->syscall = "syncfs";
  job->result = nothing;
  return start_job(env, job, "litefs.syncFileSystem", sync_file_system);
}

bool register_pool(napi_env env, napi_value exports) {
  static const Export functions[] = {
      {"checksumPages", checksumPages}, {"syncFileSystem", syncFileSystem}};
  return export_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
