#version 450
// 5x5 Gaussian over packed rgba8, integer weights 1 4 6 4 1 (sum 16 per axis), rounded to nearest.
//
// The input holds the whole picture; pixels beyond its border repeat the border. The output holds the strip
// of `rows` rows that begins at `tile_y`.
layout(local_size_x = 16, local_size_y = 16) in;

layout(std430, set = 0, binding = 0) readonly buffer Source { uint source[]; };
layout(std430, set = 0, binding = 1) writeonly buffer Result { uint result[]; };
layout(push_constant) uniform Parameters {
    uint width;   // pixels
    uint height;
    uint tile_y;
    uint rows;
} p;

const uint WEIGHTS[5] = uint[5](1u, 4u, 6u, 4u, 1u);

uint pixel(int x, int y) {
    int cx = clamp(x, 0, int(p.width) - 1);
    int cy = clamp(y, 0, int(p.height) - 1);
    return source[uint(cy) * p.width + uint(cx)];
}

void main() {
    uvec2 at = gl_GlobalInvocationID.xy;
    if (at.x >= p.width || at.y >= p.rows || p.tile_y + at.y >= p.height) {
        return;
    }
    int x = int(at.x);
    int y = int(p.tile_y + at.y);
    uvec4 sum = uvec4(128u);
    for (int row = 0; row < 5; row++) {
        for (int column = 0; column < 5; column++) {
            uint texel = pixel(x + column - 2, y + row - 2);
            uvec4 channels = (uvec4(texel) >> uvec4(0u, 8u, 16u, 24u)) & 255u;
            sum += channels * (WEIGHTS[row] * WEIGHTS[column]);
        }
    }
    uvec4 mean = sum >> 8u;
    result[at.y * p.width + at.x] = mean.r | mean.g << 8 | mean.b << 16 | mean.a << 24;
}
