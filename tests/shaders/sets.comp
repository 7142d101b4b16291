#version 450
// Bindings in several sets, an array of buffers and a uniform buffer: result = sources[0] + sources[1] * scale.
layout(local_size_x = 64) in;

layout(std430, set = 1, binding = 3) readonly buffer Source { uint values[]; } sources[2];
layout(std140, set = 2, binding = 0) uniform Scale { uint scale; };
layout(std430, set = 0, binding = 5) writeonly buffer Result { uint result[]; };

void main() {
    uint i = gl_GlobalInvocationID.x;
    result[i] = sources[0].values[i] + sources[1].values[i] * scale;
}
