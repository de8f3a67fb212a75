#ifndef LITEFS_SCHEDULING_H
#define LITEFS_SCHEDULING_H

#include <stdbool.h>
#include <stdint.h>

// PM_QOS_CPU_LATENCY_DEFAULT_VALUE: no demand.
#define ANY_LATENCY 2000000000

// Asks by /dev/cpu_dma_latency for processors that wake up within so many microseconds. False when the kernel refuses, and leaves them.
bool ask_wake_up(int fd, int32_t micros);

// Has the kernel's scheduler give this thread short turns that come soon. A kernel that cannot, or does not want to, leaves it as it is.
void ask_short_turns(void);

#endif
