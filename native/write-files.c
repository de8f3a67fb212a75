// Files written whole on libuv's thread pool: first under another name, mostly over a spare file, then renamed. And
// files taken away, to be spare or for good.
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

// Held while a file gets its name and while one is withdrawn.
static pthread_mutex_t naming = PTHREAD_MUTEX_INITIALIZER;

static int write_all(int fd, Bytes bytes) {
  while (bytes.length > 0) {
    const ssize_t count = write(fd, bytes.data, bytes.length);
    if (count >= 0) {
      bytes.data += count;
      bytes.length -= (size_t)count;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

static int open_file(const char *path, int flags) {
  int fd;
  do fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW | flags, 0644);
  while (fd < 0 && errno == EINTR);
  return fd;
}

// Opens a spare file to be overwritten, or a new one: also where somebody else has a link to the spare one.
static int open_spare(const char *path, off_t *size) {
  int fd = open_file(path, 0);
  if (fd < 0) return fd;
  struct stat status;
  if (fstat(fd, &status) == 0 && status.st_nlink == 1) {
    *size = status.st_size;
    return fd;
  }
  close(fd);
  *size = 0;
  return unlink(path) == 0 ? open_file(path, O_EXCL) : -1;
}

#define BLOCK_BYTES 4096

// Overwriting keeps the blocks that a file has, which makes it ten times as fast on ext4 as truncating it first. Whole
// blocks are written, since for a part of one the kernel would have to read the rest.
static int overwrite(int fd, Bytes data, off_t size) {
  static uint8_t zeros[BLOCK_BYTES];
  const Bytes padding = {zeros, -data.length % BLOCK_BYTES};
  int error = write_all(fd, data);
  if (error == 0 && size > 0) {
    error = write_all(fd, padding);
    if (error == 0 && ftruncate(fd, (off_t)data.length) != 0) error = errno;
  }
  return error;
}

static int name_file(const File *file, const uint32_t *withdrawn) {
  pthread_mutex_lock(&naming);
  int error = *withdrawn != 0 ? ECANCELED : 0;
  if (error == 0 && rename(file->via, file->path) != 0) error = errno;
  pthread_mutex_unlock(&naming);
  return error;
}

static int write_file(const File *file, const uint32_t *withdrawn) {
  off_t size;
  const int fd = open_spare(file->via, &size);
  if (fd < 0) return errno;
  int error = overwrite(fd, file->data, size);
  if (close(fd) != 0 && error == 0 && errno != EINTR) error = errno;
  if (error == 0) error = name_file(file, withdrawn);
  if (error != 0) unlink(file->via);
  return error;
}

static void write_files(napi_env env, void *data) {
  (void)env;
  Job *job = data;
  for (uint32_t i = 0; i < job->file_count; i++) job->files[i].error = write_file(&job->files[i], &job->withdrawn[i]);
}

static napi_value file_errors(napi_env env, const Job *job) {
  napi_value result;
  if (napi_create_array_with_length(env, job->file_count, &result) != napi_ok) return NULL;
  for (uint32_t i = 0; i < job->file_count; i++) napi_set_element(env, result, i, make_number(env, job->files[i].error));
  return result;
}

static bool read_names(napi_env env, napi_value item, File *file) {
  napi_value path, via;
  if (napi_get_named_property(env, item, "path", &path) != napi_ok ||
      napi_get_named_property(env, item, "via", &via) != napi_ok) {
    throw_type(env, "Expected path and via");
    return false;
  }
  return get_string(env, path, &file->path) && get_string(env, via, &file->via);
}

static bool read_file(napi_env env, napi_value item, File *file, napi_value *data) {
  if (napi_get_named_property(env, item, "data", data) != napi_ok) {
    throw_type(env, "Expected data");
    return false;
  }
  return get_bytes(env, *data, &file->data) && read_names(env, item, file);
}

static bool new_files(napi_env env, Job *job, uint32_t count) {
  job->files = calloc(count > 0 ? count : 1, sizeof *job->files);
  if (job->files == NULL) throw_system_error(env, ENOMEM, "malloc", NULL);
  return job->files != NULL;
}

// ([{ path, via, data }], withdrawn)
static bool read_write_arguments(napi_env env, napi_callback_info info, Job *job) {
  napi_value arguments[2], kept, item, data;
  uint32_t count;
  Words withdrawn;
  if (!get_arguments(env, info, 2, arguments) || !get_words(env, arguments[1], &withdrawn)) return false;
  if (napi_get_array_length(env, arguments[0], &count) != napi_ok ||
      napi_create_array_with_length(env, count + 1, &kept) != napi_ok) {
    throw_type(env, "Expected an array");
    return false;
  }
  if (withdrawn.length < count) {
    throw_range(env, "There are more files than marks for them");
    return false;
  }
  job->withdrawn = withdrawn.data;
  napi_set_element(env, kept, count, arguments[1]);
  if (!keep(env, job, kept) || !new_files(env, job, count)) return false;
  while (job->file_count < count) {
    const uint32_t i = job->file_count++;
    if (napi_get_element(env, arguments[0], i, &item) != napi_ok || !read_file(env, item, &job->files[i], &data))
      return false;
    napi_set_element(env, kept, i, data);
  }
  return true;
}

static napi_value writeFiles(napi_env env, napi_callback_info info) {
  Job *job = new_job(env);
  if (job == NULL) return NULL;
  if (!read_write_arguments(env, info, job)) {
    free_job(env, job);
    return NULL;
  }
  job->syscall = "write";
  job->result = file_errors;
  return start_job(env, job, "litefs.writeFiles", write_files);
}

// ({ path, via, data })
static napi_value writeFile(napi_env env, napi_callback_info info) {
  static const uint32_t withdrawn = 0;
  napi_value item, data;
  File file = {0};
  if (!get_arguments(env, info, 1, &item)) return NULL;
  const bool read = read_file(env, item, &file, &data);
  const int error = read ? write_file(&file, &withdrawn) : 0;
  free(file.path);
  free(file.via);
  return read ? make_number(env, error) : NULL;
}

// (withdrawn, index)
static napi_value withdrawFile(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  Words withdrawn;
  uint64_t index;
  if (!get_arguments(env, info, 2, arguments) || !get_words(env, arguments[0], &withdrawn) ||
      !get_size(env, arguments[1], &index))
    return NULL;
  if (index >= withdrawn.length) {
    throw_range(env, "Index lies outside of the marks");
    return NULL;
  }
  pthread_mutex_lock(&naming);
  withdrawn.data[index] = 1;
  pthread_mutex_unlock(&naming);
  return NULL;
}

#define REMOVED (-1)

static int take_file(const File *file, uint64_t max_size) {
  struct stat status;
  if (lstat(file->path, &status) != 0) return errno;
  if (*file->via == '\0' || !S_ISREG(status.st_mode) || (uint64_t)status.st_size > max_size)
    return unlink(file->path) == 0 ? REMOVED : errno;
  return rename(file->path, file->via) == 0 ? 0 : errno;
}

static void take_files(napi_env env, void *data) {
  (void)env;
  Job *job = data;
  for (uint32_t i = 0; i < job->file_count; i++) job->files[i].error = take_file(&job->files[i], job->max_size);
}

// ([{ path, via }], maxSize)
static bool read_take_arguments(napi_env env, napi_callback_info info, Job *job) {
  napi_value arguments[2], item;
  uint32_t count;
  if (!get_arguments(env, info, 2, arguments) || !get_size(env, arguments[1], &job->max_size)) return false;
  if (napi_get_array_length(env, arguments[0], &count) != napi_ok) {
    throw_type(env, "Expected an array");
    return false;
  }
  if (!new_files(env, job, count)) return false;
  while (job->file_count < count) {
    const uint32_t i = job->file_count++;
    if (napi_get_element(env, arguments[0], i, &item) != napi_ok || !read_names(env, item, &job->files[i])) return false;
  }
  return true;
}

static napi_value takeFiles(napi_env env, napi_callback_info info) {
  Job *job = new_job(env);
  if (job == NULL) return NULL;
  if (!read_take_arguments(env, info, job)) {
    free_job(env, job);
    return NULL;
  }
  job->syscall = "rename";
  job->result = file_errors;
  return start_job(env, job, "litefs.takeFiles", take_files);
}

bool register_write_files(napi_env env, napi_value exports) {
  static const Export functions[] = {
      {"writeFiles", writeFiles}, {"writeFile", writeFile}, {"withdrawFile", withdrawFile}, {"takeFiles", takeFiles}};
  return export_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
