// Preloaded into the daemon: makes chosen system calls on files below a directory fail, or kills the process in their place. Works for every call of Node's and of the
// addon's that changes a file system or brings something to the disk, in any thread. It also sets the wall clock that the daemon sees.
//
//   FAILING_CALLS_DIR      the directory, unless the struct names another one
//   FAILING_CALLS_CONTROL  a file of 4 KiB, mapped by us and written by the test: a struct control
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
  _Atomic uint32_t armed;   // 0: no call counts or fails
  uint32_t fail_at;         // the call that fails, counted from 1; 0: none
  uint32_t all_after;       // 1: so do those after it
  uint32_t error;           // errno; 0: the process is killed, after half of the call if it is torn
  uint32_t torn;            // 1: when it is a write, half of it is made and the next call fails
  _Atomic uint32_t seen;    // calls since it was armed
  _Atomic uint32_t failed;  // calls that failed or were torn
  char what[256];           // the first of these, and its path
  uint32_t unused;
  _Atomic int64_t clock_ms; // what the wall clock is ahead of the true one
  char directory[1024];     // in place of FAILING_CALLS_DIR where it is not empty
};

static struct control *control;
static const char *directory;

__attribute__((constructor)) static void map_control(void) {
  const char *path = getenv("FAILING_CALLS_CONTROL");
  directory = getenv("FAILING_CALLS_DIR");
  if (path == NULL || directory == NULL) return;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void *address = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (address != MAP_FAILED) control = address;
}

static bool is_below(const char *path) {
  const char *above = control->directory[0] == '\0' ? directory : control->directory;
  return strncmp(path, above, strlen(above)) == 0;
}

enum verdict { GO, TEAR, FAIL };

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static enum verdict judge(const char *call, const char *path) {
  const uint32_t seen = atomic_fetch_add(&control->seen, 1) + 1;
  const uint32_t at = control->fail_at;
  if (at == 0 || seen < at || (seen > at && control->all_after == 0)) return GO;
  if (atomic_fetch_add(&control->failed, 1) == 0) snprintf(control->what, sizeof control->what, "%s %s", call, path);
  if (control->torn && seen == at) return TEAR;
  if (control->error == 0) die();
  errno = (int)control->error;
  return FAIL;
}

static enum verdict judge_path(const char *call, const char *path) {
  if (control == NULL || atomic_load(&control->armed) == 0 || !is_below(path)) return GO;
  return judge(call, path);
}

static enum verdict judge_fd(const char *call, int fd) {
  if (control == NULL || atomic_load(&control->armed) == 0) return GO;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return GO;
  path[length] = '\0';
  return is_below(path) ? judge(call, path) : GO;
}

// A call that cannot be torn fails where one that can is torn.
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAILS(verdict) ((verdict) != GO ? (control->error == 0 ? die() : (void)0, errno = (int)control->error, true) : false)

// After half of a write: the process dies of it, if it is to.
static ssize_t torn(enum verdict verdict, ssize_t written) {
  if (verdict == TEAR && control->error == 0) die();
  return written;
}

ssize_t write(int fd, const void *data, size_t length) {
  const enum verdict verdict = judge_fd("write", fd);
  if (verdict == FAIL || (verdict == TEAR && length < 2)) return FAILS(verdict) ? -1 : 0;
  return torn(verdict, NEXT(write)(fd, data, verdict == TEAR ? length / 2 : length));
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
  const enum verdict verdict = judge_fd("pwrite", fd);
  if (verdict == FAIL || (verdict == TEAR && length < 2)) return FAILS(verdict) ? -1 : 0;
  return torn(verdict, NEXT(pwrite64)(fd, data, verdict == TEAR ? length / 2 : length, offset));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  return FAILS(judge_fd("writev", fd)) ? -1 : NEXT(writev)(fd, parts, count);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  return FAILS(judge_fd("pwritev", fd)) ? -1 : NEXT(pwritev64)(fd, parts, count, offset);
}

int fsync(int fd) { return FAILS(judge_fd("fsync", fd)) ? -1 : NEXT(fsync)(fd); }

int fdatasync(int fd) { return FAILS(judge_fd("fdatasync", fd)) ? -1 : NEXT(fdatasync)(fd); }

int syncfs(int fd) { return FAILS(judge_fd("syncfs", fd)) ? -1 : NEXT(syncfs)(fd); }

int ftruncate64(int fd, off64_t size) { return FAILS(judge_fd("ftruncate", fd)) ? -1 : NEXT(ftruncate64)(fd, size); }

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
  return FAILS(judge_fd("fallocate", fd)) ? -1 : NEXT(fallocate64)(fd, mode, offset, length);
}

int rename(const char *from, const char *to) { return FAILS(judge_path("rename", to)) ? -1 : NEXT(rename)(from, to); }

int link(const char *from, const char *to) { return FAILS(judge_path("link", to)) ? -1 : NEXT(link)(from, to); }

int unlink(const char *path) { return FAILS(judge_path("unlink", path)) ? -1 : NEXT(unlink)(path); }

int mkdir(const char *path, mode_t mode) { return FAILS(judge_path("mkdir", path)) ? -1 : NEXT(mkdir)(path, mode); }

int open64(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return FAILS(judge_path("open", path)) ? -1 : NEXT(open64)(path, flags, mode);
}

static int64_t ahead_ms(void) { return control == NULL ? 0 : atomic_load(&control->clock_ms); }

int clock_gettime(clockid_t clock, struct timespec *time) {
  static __typeof__(&clock_gettime) next;
  if (next == NULL) next = NEXT(clock_gettime);
  const int result = next(clock, time);
  if (result != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
  const int64_t ms = ahead_ms();
  time->tv_sec += ms / 1000;
  time->tv_nsec += ms % 1000 * 1000000;
  if (time->tv_nsec < 0) time->tv_sec--, time->tv_nsec += 1000000000;
  if (time->tv_nsec >= 1000000000) time->tv_sec++, time->tv_nsec -= 1000000000;
  return 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}
