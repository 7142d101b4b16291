#version 450
// Sums that do not depend on the order of invocations, through calls that return early.
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) buffer O { uint o[]; };
layout(set = 0, binding = 1) readonly buffer P { uint p[]; };
shared uint histogram[16];
uint find(uint wanted, uint n) {
    for (uint i = 0u; i < n; i++) if (i * i >= wanted) return i;
    return n;
}
void main() {
    uint l = gl_LocalInvocationIndex;
    if (l < 16u) histogram[l] = 0u;
    barrier();
    for (int i = int(p[0]); i >= 3; i -= 3) atomicAdd(histogram[(uint(i) + l) % 16u], find(uint(i), 1000u));
    int j = -20;
    while (j <= int(l)) { atomicAdd(histogram[uint(j + 32) & 15u], 1u); j += 7; }
    barrier();
    if (l < 16u) atomicAdd(o[l], histogram[l]);
    for (uint k = gl_NumWorkGroups.x; k-- > 0u;) atomicXor(o[16u + k % 8u], k * l);
    for (uint step = 1u; step < 100u; step <<= 1) atomicMax(o[24], step + l);
    for (uint a = 9u; a != 2u; a--) atomicAdd(o[25], a);
    atomicAdd(o[26], gl_NumWorkGroups.x);
}
