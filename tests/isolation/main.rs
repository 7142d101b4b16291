//! What one client can and cannot do to another one: memory that is shared by consent, and all that is not.

mod arenas;
mod sharing;
mod strangers;
