#define __global__ __attribute__((global))
__global__ void axpy(float *y, const float *x, float a, int i) { y[i] += a * x[i]; }
