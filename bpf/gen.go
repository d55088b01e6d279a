package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -fdebug-prefix-map=../../=" -type fc_addr -type fc_listener_key -type fc_listener -type fc_site -type fc_replica -type fc_flow_key -type fc_flow -type fc_held -type fc_held_small -type fc_held_large -type fc_event -type fc_settings -type fc_listening -type fc_conn -type fc_control_args -type fc_control_op -type fc_replica_flags -type fc_stat -type fc_event_kind -type fc_site_flags dp src/fcnode.c -- -Isrc -I/usr/include/x86_64-linux-gnu
