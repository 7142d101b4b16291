#version 450
layout(local_size_x=64) in;
layout(set=0,binding=0) buffer O{uint o[];};

shared uint s[64];
void main(){
  uint l=gl_LocalInvocationIndex; uint x=gl_GlobalInvocationID.x+1u; s[l]=x; barrier();
  while(true){ x=x*1664525u+s[(l+1u)&63u]; barrier(); s[l]=x|1u; barrier(); if(s[0]==0u) break; }
  o[gl_GlobalInvocationID.x]=x;
}
