// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT
//
// Steering: takes every frame of a guarded port up to the trunk, and puts decided frames down.
//
//   from_pod  TC ingress of a port's host side: what the pod sent
//   to_pod    TC egress of the same device: what is on its way into the pod
//   deliver   TC ingress of the trunk's kernel side: what the workers let go on
//   steer_*   XDP on the trunk's gateway side, a program a lane: into the workers' sockets
//
// No policy here. What is dropped here is only what would harm the workers or other pods.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "steer.h"

#define NEXT -1 /* TCX_NEXT, TC_ACT_UNSPEC: on to the next program, then the stack */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} config SEC(".maps");

// Guarded devices by ifindex.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, struct port);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ports SEC(".maps");

// ifindex by port number.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} devices SEC(".maps");

struct counts {
	__u64 of[COUNTS];
};

// Drops and deliveries by port number.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, struct counts);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} counts SEC(".maps");

// Token buckets: credit in frames, refilled by the clock. Two CPUs may race on one and grant a
// few frames too many; the bound is about load, not about permission.
struct bucket {
	__u64 filled_ns;
	__u64 credit;
};

struct meter {
	struct bucket broadcast;
	struct bucket load;
	__u64 heavy_until_ns;
};

// By tag: a port's sending and its receiving are metered apart.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MAX_PORTS);
	__type(key, __u32);
	__type(value, struct meter);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} meters SEC(".maps");

// CLOCK_MONOTONIC of each worker's last sign of life, by queue.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} heartbeats SEC(".maps");

// The workers' sockets, by lane and queue.
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, LANES * MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} sockets SEC(".maps");

static __always_inline void count(__u32 port, enum drop_reason what)
{
	struct counts *row = bpf_map_lookup_elem(&counts, &port);

	if (row)
		row->of[what]++;
}

static __always_inline int drop(__u32 port, enum drop_reason reason)
{
	count(port, reason);
	return TC_ACT_SHOT;
}

// Takes `frames` of credit, if there are any left at `per_second`; a bucket holds a quarter of a
// second's worth. A bucket that was never filled starts full.
static __always_inline int take(struct bucket *bucket, __u64 now, __u32 per_second, __u32 frames)
{
	__u64 full = per_second / 4 + 1;
	__u64 passed = now - bucket->filled_ns;

	if (passed > 250000000ull) {
		bucket->credit = full;
		bucket->filled_ns = now;
	} else {
		__u64 earned = passed * per_second / 1000000000ull;

		if (earned) {
			bucket->credit += earned;
			if (bucket->credit > full)
				bucket->credit = full;
			bucket->filled_ns = now;
		}
	}
	if (bucket->credit < frames) {
		bucket->credit = 0;
		return 0;
	}
	bucket->credit -= frames;
	return 1;
}

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * 0x9e3779b1u;
	return hash ^ (hash >> 15);
}

// The same for both directions of a flow: addresses are added, ports are added. The kernel's own
// hash is not (it reuses the sender's), and the v6 flow label differs by direction. Fragments
// hash by addresses only, so that all of one datagram meet at one worker.
static __always_inline __u32 flow_hash(struct __sk_buff *skb, __u32 seed)
{
	__u32 hash = seed, ports;
	__u16 ethertype = 0;

	bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &ethertype, 2);
	if (ethertype == bpf_htons(ETH_P_IP)) {
		struct { __u8 vhl, tos; __be16 len, id, frag; __u8 ttl, proto; __be16 sum; __be32 from, to; } ip;

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
			return hash;
		hash = mix(hash, ip.from + ip.to);
		if (ip.frag & bpf_htons(0x3fff))
			return hash;
		hash = mix(hash, ip.proto);
		if (ip.proto != IPPROTO_TCP && ip.proto != IPPROTO_UDP && ip.proto != IPPROTO_SCTP)
			return hash;
		if (bpf_skb_load_bytes(skb, ETH_HLEN + (ip.vhl & 15) * 4, &ports, 4))
			return hash;
	} else if (ethertype == bpf_htons(ETH_P_IPV6)) {
		struct { __be32 flow; __be16 len; __u8 next, hops; __be32 from[4], to[4]; } ip;

		if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
			return hash;
#pragma unroll
		for (int i = 0; i < 4; i++)
			hash = mix(hash, ip.from[i] + ip.to[i]);
		if (ip.next != IPPROTO_TCP && ip.next != IPPROTO_UDP && ip.next != IPPROTO_SCTP)
			return hash;
		if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(ip), &ports, 4))
			return hash;
	} else {
		return hash;
	}
	return mix(hash, (ports >> 16) + (ports & 0xffff));
}

// Whether the worker behind `queue` has shown life lately. Only asked when the fallback is open:
// closed, a frame without a worker is dropped on the trunk anyway.
static __always_inline int alive(const struct config *cfg, __u32 queue)
{
	__u64 *beat = bpf_map_lookup_elem(&heartbeats, &queue);

	return beat && *beat && bpf_ktime_get_ns() - *beat < cfg->stale_ms * 1000000ull;
}

// Sends the frame up the trunk, tagged with where it was taken.
static __always_inline int lift(struct __sk_buff *skb, const struct config *cfg, const struct port *port,
				__u32 passage, int group)
{
	__u32 tag = (port->number & TAG_PORT) | passage;
	__u64 now = bpf_ktime_get_coarse_ns();
	__u32 lane = LANE_NORMAL, queue = 0, trunk;
	struct meter *meter = bpf_map_lookup_elem(&meters, &tag);

	if (!meter)
		return drop(port->number, DROP_UNKNOWN_PORT);
	if (cfg->queues > 1)
		queue = flow_hash(skb, cfg->hash_seed) % cfg->queues;
	if (cfg->fallback == FALLBACK_OPEN && !alive(cfg, queue)) {
		count(port->number, COUNT_PASSED_OPEN);
		return NEXT;
	}
	if (skb->gso_size && skb->gso_size < cfg->min_gso_bytes)
		return drop(port->number, DROP_SMALL_GSO);
	if (group && !passage && !take(&meter->broadcast, now, cfg->broadcast_pps, 1))
		return drop(port->number, DROP_BROADCAST_BUDGET);
	// A port over its rate keeps to the heavy lane for a while, so that its frames stay in order.
	if (!take(&meter->load, now, cfg->heavy_pps, skb->gso_segs ? skb->gso_segs : 1))
		meter->heavy_until_ns = now + 2000000000ull;
	if (now < meter->heavy_until_ns)
		lane = LANE_HEAVY;
	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), tag))
		return drop(port->number, DROP_TAG_FAILED);
	count(port->number, COUNT_LIFTED);
	skb->mark = 0;
	skb->queue_mapping = 1 + queue;
	trunk = lane == LANE_HEAVY ? cfg->trunk[LANE_HEAVY] : cfg->trunk[LANE_NORMAL];
	return bpf_redirect(trunk, 0);
}

static __always_inline const struct config *configuration(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}

// A frame that carries the secret was decided. The secret stops here: should the frame meet
// another guarded port on its way, it is to be taken up again.
static __always_inline int decided(struct __sk_buff *skb, const struct config *cfg)
{
	if (!skb->mark || (skb->mark != cfg->mark && skb->mark != cfg->previous_mark))
		return 0;
	skb->mark = 0;
	skb->tc_index = 0;
	return 1;
}

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4] && a[5] == b[5];
}

SEC("classifier/from_pod") int from_pod(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	const struct config *cfg = configuration();
	const struct port *port;
	__u8 to = 0;

	if (!cfg)
		return TC_ACT_SHOT;
	if (decided(skb, cfg))
		return NEXT;
	port = bpf_map_lookup_elem(&ports, &ifindex);
	if (!port)
		return drop(0, DROP_UNKNOWN_PORT);
	if (cfg->lap && skb->tc_index == cfg->lap)
		return drop(port->number, DROP_LAP);
	// Leaving the pod's network namespace clears the mark. One that is there was put there by a
	// program of the pod's that redirects past that, and guesses.
	if (skb->mark)
		return drop(port->number, DROP_FORGED_MARK);
	bpf_skb_load_bytes(skb, 0, &to, 1);
	return lift(skb, cfg, port, 0, to & 1);
}

SEC("classifier/to_pod") int to_pod(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	const struct config *cfg = configuration();
	const struct port *port;
	__u8 to[6] = {};

	if (!cfg)
		return TC_ACT_SHOT;
	if (decided(skb, cfg))
		return NEXT;
	port = bpf_map_lookup_elem(&ports, &ifindex);
	if (!port)
		return drop(0, DROP_UNKNOWN_PORT);
	if (cfg->lap && skb->tc_index == cfg->lap)
		return drop(port->number, DROP_LAP);
	// The bridge floods what it has no entry for; only the owner's copy is worth a worker's time.
	bpf_skb_load_bytes(skb, 0, to, 6);
	if (!(to[0] & 1) && !same_mac(to, port->mac))
		return drop(port->number, DROP_WRONG_MAC);
	return lift(skb, cfg, port, TAG_TO_POD, to[0] & 1);
}

SEC("classifier/deliver") int deliver(struct __sk_buff *skb)
{
	const struct config *cfg = configuration();
	__u32 tag, number, *ifindex;

	if (!cfg || !skb->vlan_present)
		return drop(0, DROP_TAG_FAILED);
	tag = skb->vlan_tci;
	number = tag & TAG_PORT;
	if (bpf_skb_vlan_pop(skb))
		return drop(number, DROP_TAG_FAILED);
	ifindex = bpf_map_lookup_elem(&devices, &number);
	if (!ifindex || !*ifindex)
		return drop(number, DROP_PORT_GONE);
	skb->mark = cfg->mark;
	skb->tc_index = cfg->lap;
	count(number, COUNT_DELIVERED);
	// Into the pod through the port's own egress, so that its qdisc, XDP and captures keep their
	// meaning; or on into the bridge, as if it had just come from the pod.
	return bpf_redirect(*ifindex, tag & TAG_TO_POD ? 0 : BPF_F_INGRESS);
}

static __always_inline int steer(struct xdp_md *ctx, __u32 lane)
{
	__u32 queue = ctx->rx_queue_index, slot = lane * MAX_QUEUES + queue;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 *beat;
	__u32 port = 0;

	if (queue < MAX_QUEUES && bpf_map_lookup_elem(&sockets, &slot))
		return bpf_redirect_map(&sockets, slot, XDP_DROP);
	beat = bpf_map_lookup_elem(&heartbeats, &queue);
	if (beat)
		*beat = 0;
	if (data + ETH_HLEN + 4 <= end)
		port = bpf_ntohs(*(__be16 *)(data + ETH_HLEN)) & TAG_PORT;
	count(port, DROP_NO_WORKER);
	return XDP_DROP;
}

SEC("xdp") int steer_normal(struct xdp_md *ctx)
{
	return steer(ctx, LANE_NORMAL);
}

SEC("xdp") int steer_heavy(struct xdp_md *ctx)
{
	return steer(ctx, LANE_HEAVY);
}

char _license[] SEC("license") = "Dual MIT/GPL";
