#version 450
// Sobel gradient of the luma of packed rgba8, as opaque grey; integer arithmetic throughout.
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

// BT.601 weights in 1/256: 77 + 150 + 29 = 256.
int luma(int x, int y) {
    int cx = clamp(x, 0, int(p.width) - 1);
    int cy = clamp(y, 0, int(p.height) - 1);
    uint texel = source[uint(cy) * p.width + uint(cx)];
    uint weighted = 77u * (texel & 255u) + 150u * (texel >> 8 & 255u) + 29u * (texel >> 16 & 255u);
    return int(weighted >> 8);
}

void main() {
    uvec2 at = gl_GlobalInvocationID.xy;
    if (at.x >= p.width || at.y >= p.rows || p.tile_y + at.y >= p.height) {
        return;
    }
    int x = int(at.x);
    int y = int(p.tile_y + at.y);
    int a = luma(x - 1, y - 1);
    int b = luma(x, y - 1);
    int c = luma(x + 1, y - 1);
    int d = luma(x - 1, y);
    int f = luma(x + 1, y);
    int g = luma(x - 1, y + 1);
    int h = luma(x, y + 1);
    int i = luma(x + 1, y + 1);
    int horizontal = (c + 2 * f + i) - (a + 2 * d + g);
    int vertical = (g + 2 * h + i) - (a + 2 * b + c);
    // |gx| + |gy| needs no square root and stays exact.
    uint grey = uint(min(abs(horizontal) + abs(vertical), 255));
    result[at.y * p.width + at.x] = grey | grey << 8 | grey << 16 | 0xff000000u;
}
