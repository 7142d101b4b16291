#version 450
// A loop that nobody can count, left at a test of its own, and one that has none.
layout(local_size_x = 32) in;
layout(set = 0, binding = 0) buffer O { uint o[]; };
layout(set = 0, binding = 1) readonly buffer P { uint p[]; };
void main() {
    uint v = p[gl_LocalInvocationIndex % 4u], d = 0u, e = 0u;
    while (d * d < v) d++;
    for (;;) {
        switch (e % 3u) {
            case 0u: if (e > d) { o[gl_GlobalInvocationID.x] = d * 1000u + e; return; } e += 1u; break;
            case 1u: e += 4u; break;
            default: e += 1u; break;
        }
    }
}
