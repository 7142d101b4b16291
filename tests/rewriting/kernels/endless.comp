#version 450
layout(local_size_x=64) in;
layout(set=0,binding=0) buffer O{uint o[];};

void main(){
  uint x=gl_GlobalInvocationID.x+1u;
  while(true){ x=x*1664525u+1013904223u; x|=1u; if(x==0u) break; }
  o[gl_GlobalInvocationID.x]=x;
}
