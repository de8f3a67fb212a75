// LZ4 blocks by the system's liblz4, which is looked up when the addon is loaded: nothing to build against, and a
// system without it still runs.
#include "lz4.h"
#include "addon.h"

#include <dlfcn.h>
#include <limits.h>

// LZ4_MAX_INPUT_SIZE of lz4.h.
#define MAX_INPUT_SIZE 0x7E000000

// As lz4.h declares them; the ABI of liblz4.so.1 has not changed since 2014 (r123).
static int (*compress)(const char *source, char *target, int source_size, int target_capacity);
static int (*decompress)(const char *source, char *target, int compressed_size, int target_capacity);

__attribute__((constructor)) static void find_library(void) {
  void *library = dlopen("liblz4.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return;
  *(void **)&decompress = dlsym(library, "LZ4_decompress_safe");
  *(void **)&compress = dlsym(library, "LZ4_compress_default");
}

static bool available(void) { return compress != NULL && decompress != NULL; }

static bool check_available(napi_env env) {
  if (available()) return true;
  throw_type(env, "liblz4.so.1 is not there");
  return false;
}

bool lz4_inflates(const uint8_t *block, size_t length, uint8_t *target, size_t target_length) {
  if (!available() || length > INT_MAX || target_length > INT_MAX) return false;
  return decompress((const char *)block, (char *)target, (int)length, (int)target_length) == (int)target_length;
}

static int capacity_of(size_t length) { return length > INT_MAX ? INT_MAX : (int)length; }

static napi_value lz4Available(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result = NULL;
  napi_get_boolean(env, available(), &result);
  return result;
}

// (source, start, end, target, at)
static napi_value lz4Compress(napi_env env, napi_callback_info info) {
  napi_value arguments[5];
  Bytes source, target;
  uint64_t at;
  if (!get_arguments(env, info, 5, arguments) || !get_range(env, arguments[0], arguments[1], arguments[2], &source) ||
      !get_bytes(env, arguments[3], &target) || !get_size(env, arguments[4], &at) || !check_available(env))
    return NULL;
  if (source.length > MAX_INPUT_SIZE || at > target.length) {
    throw_range(env, "Range lies outside of the array");
    return NULL;
  }
  const int capacity = capacity_of(target.length - at);
  return make_number(env, compress((const char *)source.data, (char *)target.data + at, (int)source.length, capacity));
}

// (source, start, end, target)
static napi_value lz4Decompress(napi_env env, napi_callback_info info) {
  napi_value arguments[4];
  Bytes source, target;
  if (!get_arguments(env, info, 4, arguments) || !get_range(env, arguments[0], arguments[1], arguments[2], &source) ||
      !get_bytes(env, arguments[3], &target) || !check_available(env))
    return NULL;
  if (source.length > INT_MAX) {
    throw_range(env, "Range lies outside of the array");
    return NULL;
  }
  const int capacity = capacity_of(target.length);
  return make_number(env, decompress((const char *)source.data, (char *)target.data, (int)source.length, capacity));
}

bool register_lz4(napi_env env, napi_value exports) {
  static const Export functions[] = {
      {"lz4Available", lz4Available}, {"lz4Compress", lz4Compress}, {"lz4Decompress", lz4Decompress}};
  return export_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
