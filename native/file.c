// Operations on open files that node:fs does not have: open-file-description locks, shared mappings, allocation.
#include "addon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

// (fd, type, start, length), type being F_RDLCK, F_WRLCK or F_UNLCK
static bool get_lock(napi_env env, napi_callback_info info, int *fd, struct flock *lock) {
  napi_value arguments[4];
  int type;
  uint64_t start, length;
  if (!get_arguments(env, info, 4, arguments) || !get_int(env, arguments[0], fd) ||
      !get_int(env, arguments[1], &type) || !get_size(env, arguments[2], &start) ||
      !get_size(env, arguments[3], &length))
    return false;
  *lock = (struct flock){
      .l_type = (short)type, .l_whence = SEEK_SET, .l_start = (off_t)start, .l_len = (off_t)length, .l_pid = 0};
  return true;
}

static napi_value ofdSetLock(napi_env env, napi_callback_info info) {
  int fd;
  struct flock lock;
  if (!get_lock(env, info, &fd, &lock)) return NULL;
  const bool taken = fcntl(fd, F_OFD_SETLK, &lock) == 0;
  if (!taken && errno != EAGAIN && errno != EACCES) {
    throw_system_error(env, errno, "fcntl", NULL);
    return NULL;
  }
  napi_value result = NULL;
  napi_get_boolean(env, taken, &result);
  return result;
}

// Answers [type, start, length, pid] of a lock in the way, or undefined.
static napi_value ofdGetLock(napi_env env, napi_callback_info info) {
  int fd;
  struct flock lock;
  if (!get_lock(env, info, &fd, &lock)) return NULL;
  if (fcntl(fd, F_OFD_GETLK, &lock) != 0) {
    throw_system_error(env, errno, "fcntl", NULL);
    return NULL;
  }
  if (lock.l_type == F_UNLCK) return NULL;
  const double fields[] = {lock.l_type, (double)lock.l_start, (double)lock.l_len, lock.l_pid};
  napi_value result = NULL;
  napi_create_array_with_length(env, 4, &result);
  for (uint32_t i = 0; i < 4; i++) napi_set_element(env, result, i, make_number(env, fields[i]));
  return result;
}

typedef struct {
  void *address;  // NULL once unmapped
  size_t length;
} Mapping;

static void release_mapping(napi_env env, void *data, void *hint) {
  (void)env;
  (void)data;
  Mapping *mapping = hint;
  if (mapping->address != NULL) munmap(mapping->address, mapping->length);
  free(mapping);
}

// (fd, length, writable)
static napi_value mapShared(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  int fd;
  uint64_t length;
  bool writable;
  if (!get_arguments(env, info, 3, arguments) || !get_int(env, arguments[0], &fd) ||
      !get_size(env, arguments[1], &length) || !get_bool(env, arguments[2], &writable))
    return NULL;
  Mapping *mapping = malloc(sizeof *mapping);
  if (mapping == NULL) {
    throw_system_error(env, ENOMEM, "malloc", NULL);
    return NULL;
  }
  mapping->length = length;
  mapping->address = mmap(NULL, length, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  if (mapping->address == MAP_FAILED) {
    const int error = errno;
    free(mapping);
    throw_system_error(env, error, "mmap", NULL);
    return NULL;
  }
  napi_value buffer;
  if (napi_create_external_arraybuffer(env, mapping->address, length, release_mapping, mapping, &buffer) != napi_ok) {
    release_mapping(env, NULL, mapping);
    throw_type(env, "Cannot make an ArrayBuffer of the mapping");
    return NULL;
  }
  // The wrap is how unmapShared finds the mapping; the ArrayBuffer's own finalizer is the one that frees it.
  if (napi_wrap(env, buffer, mapping, NULL, NULL, NULL) != napi_ok) {
    throw_type(env, "Cannot remember the mapping");
    return NULL;
  }
  return buffer;
}

// (buffer)
static napi_value unmapShared(napi_env env, napi_callback_info info) {
  napi_value arguments[1];
  void *data;
  if (!get_arguments(env, info, 1, arguments)) return NULL;
  if (napi_remove_wrap(env, arguments[0], &data) != napi_ok) {
    throw_type(env, "Expected a buffer of mapShared that is still mapped");
    return NULL;
  }
  // Detaching lets the finalizer run, which frees the record: what is needed of it is taken before.
  Mapping *mapping = data;
  void *address = mapping->address;
  const size_t length = mapping->length;
  mapping->address = NULL;
  if (napi_detach_arraybuffer(env, arguments[0]) != napi_ok) {
    mapping->address = address;
    throw_type(env, "Cannot detach the mapping");
    return NULL;
  }
  if (munmap(address, length) != 0) throw_system_error(env, errno, "munmap", NULL);
  return NULL;
}

// (fd, offset, length)
static napi_value allocate(napi_env env, napi_callback_info info) {
  napi_value arguments[3];
  int fd;
  uint64_t offset, length;
  if (!get_arguments(env, info, 3, arguments) || !get_int(env, arguments[0], &fd) ||
      !get_size(env, arguments[1], &offset) || !get_size(env, arguments[2], &length))
    return NULL;
  int result;
  do result = fallocate(fd, 0, (off_t)offset, (off_t)length);
  while (result != 0 && errno == EINTR);
  if (result != 0) throw_system_error(env, errno, "fallocate", NULL);
  return NULL;
}

/* FS_TOPDIR_FL of linux/fs.h: ext4 then places new subdirectories apart from one another. */
static napi_value spreadSubdirectories(napi_env env, napi_callback_info info) {
  napi_value arguments[1], result;
  int fd, flags;
  if (!get_arguments(env, info, 1, arguments) || !get_int(env, arguments[0], &fd)) return NULL;
  bool done = ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
  flags |= FS_TOPDIR_FL;
  done = done && ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
  return napi_get_boolean(env, done, &result) == napi_ok ? result : NULL;
}

bool register_file(napi_env env, napi_value exports) {
  static const Export functions[] = {
      {"ofdSetLock", ofdSetLock},   {"ofdGetLock", ofdGetLock}, {"mapShared", mapShared},
      {"unmapShared", unmapShared}, {"allocate", allocate},
      {"spreadSubdirectories", spreadSubdirectories},
  };
  return export_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
