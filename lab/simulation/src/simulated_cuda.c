/* Stand-in for libcuda.so.1: present because tools look for it (the CDI generator finds the driver's folder by it,
 * GPU feature discovery falls back to it), and honest: there is no device to compute on. */

enum { CUDA_ERROR_NO_DEVICE = 100 };

int cuInit(unsigned flags)
{
    (void)flags;
    return CUDA_ERROR_NO_DEVICE;
}

int cuDriverGetVersion(int *version)
{
    *version = 0;
    return CUDA_ERROR_NO_DEVICE;
}

int cuDeviceGetCount(int *count)
{
    *count = 0;
    return CUDA_ERROR_NO_DEVICE;
}
