#version 450
// Every built-in that knows of the grid, in three dimensions.
layout(local_size_x = 2, local_size_y = 3, local_size_z = 2) in;
layout(set = 0, binding = 0) buffer O { uint o[]; };
layout(set = 0, binding = 1) readonly buffer P { uint p[]; };
void main() {
    uvec3 all = gl_NumWorkGroups * gl_WorkGroupSize;
    uvec3 at = gl_GlobalInvocationID;
    uint place = (at.z * all.y + at.y) * all.x + at.x;
    uint group = (gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y) * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    o[place] = group * 100u + gl_LocalInvocationIndex + p[0] + gl_NumWorkGroups[p[1] % 3u] * 100000u;
}
