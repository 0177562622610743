//! Signaling as its clients and the relay see it: the hub with a fake clock, and the whole server on sockets.

mod adopt;
mod chat;
mod door;
mod edges;
mod relay_model;
mod replay;
mod rooms;
mod sessions;
mod streams;
mod world;
