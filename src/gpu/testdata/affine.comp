#version 450
// both arrays: d[i] = d[i] * factor + bias, with a specialization constant and a uniform buffer
layout(local_size_x = 1) in;
layout(constant_id = 7) const uint factor = 1;
layout(std430, binding = 0) buffer Data { uint d[]; } data[2];
layout(std140, binding = 1) uniform Bias { uint bias; };
void main() {
    uint i = gl_WorkGroupID.x;
    data[0].d[i] = data[0].d[i] * factor + bias;
    data[1].d[i] = data[1].d[i] * factor + bias;
}
