#version 450
// no bindings at all
layout(local_size_x = 1) in;
void main() {}
