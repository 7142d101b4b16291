#version 450
// Many searches that end early, in a loop and in a function that returns from one.
layout(local_size_x = 32) in;
layout(set = 0, binding = 0) buffer O { uint o[]; };
layout(set = 0, binding = 1) readonly buffer P { uint p[]; };
uint find(uint wanted, uint n) {
    for (uint i = 0u; i < n; i += 2u) if (i >= wanted) return i;
    return n;
}
void main() {
    uint n = p[0], sum = 0u;
    for (uint k = 0u; k < p[1]; k++) {
        for (uint i = n; i > 0u; i--) { if (n - i >= 3u) break; sum += i; }
        sum += find(4u, n);
    }
    o[gl_GlobalInvocationID.x] = sum;
}
