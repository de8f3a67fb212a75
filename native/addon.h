// What every file of the addon shares: reading arguments, throwing errors, registering functions.
// Functions that return bool have thrown a JavaScript exception when they return false.
#ifndef LITEFS_ADDON_H
#define LITEFS_ADDON_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint8_t *data;
  size_t length;
} Bytes;

typedef struct {
  uint32_t *data;
  size_t length;
} Words;

bool get_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *arguments);
bool get_int(napi_env env, napi_value value, int *out);
bool get_uint32(napi_env env, napi_value value, uint32_t *out);
// A whole number from 0 to 2^53, for offsets, sizes and indexes.
bool get_size(napi_env env, napi_value value, uint64_t *out);
bool get_bool(napi_env env, napi_value value, bool *out);
bool get_bytes(napi_env env, napi_value value, Bytes *out);
bool get_words(napi_env env, napi_value value, Words *out);
// data[start, end) of a Uint8Array; a range outside of it throws RangeError.
bool get_range(napi_env env, napi_value data, napi_value start, napi_value end, Bytes *out);
// A copy the caller frees. A string holding a NUL would name another file than it says and throws.
bool get_string(napi_env env, napi_value value, char **out);

void throw_range(napi_env env, const char *message);
void throw_type(napi_env env, const char *message);
// An Error shaped like Node's own system errors: code, negative errno, syscall and, unless NULL, path.
napi_value make_system_error(napi_env env, int error, const char *syscall, const char *path);
void throw_system_error(napi_env env, int error, const char *syscall, const char *path);
napi_value make_number(napi_env env, double number);

typedef struct {
  const char *name;
  napi_callback function;
} Export;

bool export_functions(napi_env env, napi_value exports, const Export *functions, size_t count);

bool register_checksum(napi_env env, napi_value exports);
bool register_clock(napi_env env, napi_value exports);
bool register_device(napi_env env, napi_value exports);
bool register_file(napi_env env, napi_value exports);
bool register_ltx_page(napi_env env, napi_value exports);
bool register_lz4(napi_env env, napi_value exports);
bool register_mount(napi_env env, napi_value exports);
bool register_pool(napi_env env, napi_value exports);
bool register_write_files(napi_env env, napi_value exports);

#endif
