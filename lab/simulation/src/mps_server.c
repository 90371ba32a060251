/* Stand-in for nvidia-cuda-mps-server: a process of that name that the control daemon can start and stop.
 * It serves nobody: there is no CUDA. Ends on SIGTERM, or when the daemon that started it ends. */
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    for (;;)
        pause();
}
