/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT */
/* What the steering programs share with the Rust side: layouts, limits, drop reasons.
 * src/steer/layout.rs states the same numbers; a test there compares them with this file. */
#ifndef PODGATE_STEER_H
#define PODGATE_STEER_H

#include <linux/types.h>

#define MAX_PORTS 2048 /* port 0 is never given out: it counts what has no port */
#define MAX_QUEUES 64
#define LANES 2

/* The tag on the trunk: bits 0..10 the port, bit 11 the passage. */
#define TAG_PORT 0x07ffu
#define TAG_TO_POD 0x0800u

enum lane { LANE_NORMAL, LANE_HEAVY };

enum fallback { FALLBACK_CLOSED, FALLBACK_OPEN };

/* In the order of DropReason; then what is counted without being a drop. */
enum drop_reason {
	DROP_UNKNOWN_PORT,
	DROP_NO_WORKER,
	DROP_WRONG_MAC,
	DROP_BROADCAST_BUDGET,
	DROP_SMALL_GSO,
	DROP_LAP,
	DROP_TAG_FAILED,
	DROP_PORT_GONE,
	DROP_FORGED_MARK,
	COUNT_LIFTED,
	COUNT_DELIVERED,
	COUNT_PASSED_OPEN,
	COUNTS = 16,
};

struct config {
	__u32 trunk[LANES];	/* ifindex of the kernel side of each lane */
	__u32 queues;		/* queues of each lane */
	__u32 mark;		/* secret on a decided frame; never 0 */
	__u32 previous_mark;	/* the one before: frames on their way carry it; 0 if none */
	__u32 lap;		/* secret that survives a cleared mark, 16 bits; never 0 */
	__u32 fallback;
	__u32 hash_seed;
	__u32 min_gso_bytes;	/* smallest segment a pod may ask the kernel to cut */
	__u32 heavy_pps;	/* a port above this rate goes by the heavy lane */
	__u32 broadcast_pps;	/* group-addressed frames a pod may send a second */
	__u32 stale_ms;		/* a worker that has not beaten for this long is dead */
	__u32 reserved[4];
};

struct port {
	__u32 number;
	__u8 mac[6];		/* the pod's own device */
	__u8 reserved[2];
};

#endif
