// Jobs on libuv's thread pool.
#ifndef LITEFS_POOL_H
#define LITEFS_POOL_H

#include "addon.h"

typedef struct {
  char *path;
  char *via;
  Bytes data;
  int error;
} File;

typedef struct Job {
  napi_async_work work;
  napi_deferred deferred;
  napi_ref kept;  // an array of the JavaScript objects whose memory the job uses, or NULL
  napi_value (*result)(napi_env env, const struct Job *job);
  const char *syscall;  // the call that failed, when error is not 0
  int error;
  int fd;
  size_t page_size;  // bytes
  uint32_t first_page;
  uint64_t page_count;
  uint64_t pages_read;
  uint32_t *checksums;  // where the first page's goes
  File *files;
  uint32_t file_count;
  const uint32_t *withdrawn;  // per file
  uint64_t max_size;          // bytes
} Job;

// NULL with an exception thrown when there is no memory.
Job *new_job(napi_env env);
// Only for a job that was not started.
void free_job(napi_env env, Job *job);
bool keep(napi_env env, Job *job, napi_value object);
// Takes the job over, whatever happens. Returns its promise, or NULL with an exception thrown.
napi_value start_job(napi_env env, Job *job, const char *name, napi_async_execute_callback execute);

#endif
