// How soon a thread of ours gets a processor: one that is idle, or one that others want too.
#include "scheduling.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

// The first form of struct sched_attr (sched_setattr(2)); C libraries before glibc 2.41 do not have it.
typedef struct {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
} Attributes;

// The shortest turn that the kernel takes for an ordinary thread, ns; its own choice is 1 to 3 ms (__setparam_fair).
#define SHORTEST_TURN_NS 100000

bool ask_wake_up(int fd, int32_t micros) { return write(fd, &micros, sizeof micros) >= 0; }

// Since Linux 6.12 an ordinary thread says by `runtime` how long its turns should be. Whoever asks for a shorter one gets it earlier, and no
// more of the processor than before.
void ask_short_turns(void) {
  Attributes attributes = {0};
  if (syscall(SYS_sched_getattr, 0, &attributes, (unsigned)sizeof attributes, 0) != 0) return;
  if (attributes.policy != SCHED_OTHER) return;
  attributes.runtime = SHORTEST_TURN_NS;
  syscall(SYS_sched_setattr, 0, &attributes, 0);
}
