#version 450
// One tile of a Mandelbrot picture, packed rgba8 (red in the low byte).
//
// `precise` forbids contraction, so a reference that evaluates the same expressions in the same order in
// binary32 gives the same iteration counts, and with them the same pixels, bit for bit.
layout(local_size_x = 16, local_size_y = 16) in;

layout(std430, set = 0, binding = 0) writeonly buffer Tile { uint rgba[]; };
layout(push_constant) uniform Parameters {
    uint width;          // whole picture, pixels
    uint height;
    uint tile_x;         // first pixel of the tile
    uint tile_y;
    uint tile_width;     // pixels; also the row pitch of the output
    uint tile_height;
    float center_x;      // complex plane
    float center_y;
    float scale;         // complex units per pixel
    uint max_iterations;
} p;

// Integer colours, so that no rounding of the device enters the picture.
uint colour(uint iterations) {
    if (iterations >= p.max_iterations) {
        return 0xff000000u;
    }
    uint red = (iterations * 9u) & 255u;
    uint green = (iterations * 5u + 32u) & 255u;
    uint blue = (iterations * 3u + 96u) & 255u;
    return red | green << 8 | blue << 16 | 0xff000000u;
}

void main() {
    uvec2 at = gl_GlobalInvocationID.xy;
    if (at.x >= p.tile_width || at.y >= p.tile_height) {
        return;
    }
    // Distances to the picture's centre are exact below 2^24 pixels.
    int from_x = int(p.tile_x + at.x) - int(p.width / 2u);
    int from_y = int(p.tile_y + at.y) - int(p.height / 2u);
    precise float step_x = float(from_x) * p.scale;
    precise float step_y = float(from_y) * p.scale;
    precise float cx = p.center_x + step_x;
    precise float cy = p.center_y + step_y;

    precise float x = 0.0;
    precise float y = 0.0;
    uint k = 0u;
    for (; k < p.max_iterations; k++) {
        precise float xx = x * x;
        precise float yy = y * y;
        precise float norm = xx + yy;
        if (norm > 4.0) {
            break;
        }
        precise float xy = x * y;
        precise float twice = xy + xy;
        precise float difference = xx - yy;
        y = twice + cy;
        x = difference + cx;
    }
    rgba[at.y * p.tile_width + at.x] = colour(k);
}
