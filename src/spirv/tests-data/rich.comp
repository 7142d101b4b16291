#version 450
// Test data: a little of everything the gate reads. Compiled without optimisation and with debug information:
// glslangValidator -V -gVS --target-env vulkan1.2 rich.comp -o rich.spv
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_KHR_shader_subgroup_arithmetic : require
layout(local_size_x_id = 0, local_size_y = 2) in;
layout(constant_id = 1) const uint SLOTS = 16;
layout(constant_id = 2) const bool DOUBLED = false;

struct Item { vec3 at; uint kind; mat3x2 turn; };
layout(std430, set = 1, binding = 3) readonly buffer Items { Item items[]; } many[2];
layout(std430, set = 0, binding = 9) buffer Counters { uint total; uint64_t wide[]; };
layout(std140, set = 2, binding = 0) uniform Settings { vec4 weights[4]; mat4 view; };
layout(std430, set = 4, binding = 4) buffer Unused { uint nothing[]; };
layout(push_constant) uniform Parameters { layout(row_major) mat2x3 basis; uint n; } p;

shared uint sums[SLOTS * 2];

float weigh(Item item, inout uint kind) {
    switch (item.kind) {
        case 0: kind += 1; return weights[0].x;
        case 1: kind += 2; // falls through
        default: return dot(p.basis * item.turn[0], item.at);
    }
}

void main() {
    uint i = gl_GlobalInvocationID.x;
    uint kind = 0;
    float w = 0.0;
    for (uint k = 0; k < p.n && w < 100.0; k++) {
        w += weigh(many[1].items[k], kind) + view[0].x;
        w += weigh(many[0].items[k], kind);
    }
    sums[gl_LocalInvocationIndex % (SLOTS * 2)] = kind;
    barrier();
    uint all = subgroupAdd(sums[i % SLOTS]);
    atomicAdd(total, DOUBLED ? all * 2 : all);
    wide[i] = uint64_t(w) << 33;
}
