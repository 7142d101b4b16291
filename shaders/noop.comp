#version 450
// The smallest dispatch there is: measures what submission costs.
layout(local_size_x = 1) in;

void main() {}
