// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT
// Programs of other people, for the live tests: on the node, and in a pod that may do anything.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

volatile const __u32 forged_mark;
volatile const __u32 way_out;

// Accepts every frame: what stands behind it in the chain sees none.
SEC("classifier") int accept_all(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

// Uses the mark for something else.
SEC("classifier") int clear_mark(struct __sk_buff *skb)
{
	skb->mark = 0;
	return -1;
}

// Sends the frame out by the peer of `way_out` with a mark. The kernel clears marks where a frame
// leaves a namespace by a veth, but not on this way (net/core/filter.c, skb_do_redirect).
SEC("classifier") int forge_mark(struct __sk_buff *skb)
{
	skb->mark = forged_mark;
	return bpf_redirect_peer(way_out, 0);
}

char _license[] SEC("license") = "Dual MIT/GPL";
