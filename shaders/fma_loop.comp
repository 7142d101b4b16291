#version 450
// Throughput kernel: a chain of dependent fused multiply-adds per element.
layout(local_size_x = 256) in;

layout(std430, set = 0, binding = 0) buffer Data { float d[]; };
layout(push_constant) uniform Parameters { uint iters; } p;

void main() {
    uint i = gl_GlobalInvocationID.x;
    float x = d[i];
    for (uint k = 0; k < p.iters; k++) {
        x = fma(x, 1.0000001, 0.5);
    }
    d[i] = x;
}
