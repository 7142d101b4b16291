#version 450
// Indices beyond every kind of array that robust buffer access does not cover, and what was never written.
layout(local_size_x = 32) in;
layout(set = 0, binding = 0) buffer O { uint o[]; };
layout(set = 0, binding = 1) readonly buffer P { uint p[]; };
shared uint before[4]; shared uint s[8]; shared uint after[4]; shared uint never[16];
uint own[8];
void main() {
    uint far = p[0], l = gl_LocalInvocationIndex;
    uint local[8], unset[8]; uvec4 v = uvec4(1u, 2u, 3u, 4u); mat3 m = mat3(1.0);
    for (uint i = 0u; i < 8u; i++) { own[i] = i; local[i] = i + 10u; }
    if (l < 4u) { before[l] = 7u; after[l] = 9u; }
    if (l < 8u) s[l] = 100u + l;
    barrier();
    if (l == 0u) s[far] = 55u;
    own[far] = 66u; local[far] = 77u; v[far] = 88u; m[far][far] = 5.0;
    barrier();
    uint sum = 0u;
    for (uint i = 0u; i < 4u; i++) sum += before[i] * 1000u + after[i];
    uint nothing = never[l & 15u] + unset[p[1] & 7u];
    if (l == 0u) {
        o[0] = s[7]; o[1] = s[far]; o[2] = own[7]; o[3] = local[7]; o[4] = v.w; o[5] = uint(m[2][2]);
        o[6] = sum; o[7] = nothing; o[8] = own[0] + local[0] + s[0]; o[9] = uint(m[0][0]);
    }
}
