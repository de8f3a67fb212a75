// A clock that nobody sets and that goes on while the machine is suspended.
#include "addon.h"

#include <time.h>

static napi_value bootMs(napi_env env, napi_callback_info info) {
  (void)info;
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return make_number(env, (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6);
}

bool register_clock(napi_env env, napi_value exports) {
  static const Export functions[] = {{"bootMs", bootMs}};
  return export_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
