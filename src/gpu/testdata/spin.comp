#version 450
// one invocation that runs for `rounds`, so that a test can see it executing
layout(local_size_x = 1) in;
layout(std430, binding = 0) buffer Out { uint word; };
layout(push_constant) uniform Push { uint rounds; };
void main() {
    uint x = word;
    for (uint i = 0; i < rounds; i++) x = x * 1664525u + 1013904223u + (x >> 7);
    word = x | 1u;
}
