#version 450
// d = d * FACTOR + OFFSET for the first n elements, in place: repeated runs show whether they kept their order.
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint FACTOR = 1;
layout(constant_id = 1) const uint OFFSET = 0;

layout(std430, set = 0, binding = 0) buffer Data { uint d[]; };
layout(push_constant) uniform Parameters { uint n; } p;

void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i < p.n) {
        d[i] = d[i] * FACTOR + OFFSET;
    }
}
