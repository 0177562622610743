//! Signaling as its clients and the relay see it: the hub with a fake clock, and the whole server on sockets.

mod access;
mod adopt;
mod bad_input;
mod chat;
mod codecs;
mod edges;
mod hooks;
mod http_clients;
mod link;
mod listeners;
mod names;
mod panics;
mod peers;
mod priority;
mod relay_model;
mod renewal;
mod replay;
mod rooms;
mod sessions;
mod stopping;
mod streams;
mod takeovers;
mod unproved;
mod viewer_places;
mod whip_whep;
mod world;
