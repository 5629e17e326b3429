/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels that this driver is built for, all in one
 * place. The rest of the driver is written for the newest of them.
 */
#ifndef AERATE_BALLOON_COMPAT_H
#define AERATE_BALLOON_COMPAT_H

#include <linux/migrate.h>
#include <linux/mmzone.h>
#include <linux/page_reporting.h>
#include <linux/version.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>

/* Until 6.3 MAX_ORDER was the first order that there is none of. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
#define MAX_PAGE_ORDER (MAX_ORDER - 1)
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
#define MAX_PAGE_ORDER MAX_ORDER
#endif

/* The tags that 6.12 added: hosts ignore those that they do not know. */
#ifndef VIRTIO_BALLOON_S_OOM_KILL
#define VIRTIO_BALLOON_S_OOM_KILL 10
#define VIRTIO_BALLOON_S_ALLOC_STALL 11
#define VIRTIO_BALLOON_S_ASYNC_SCAN 12
#define VIRTIO_BALLOON_S_DIRECT_SCAN 13
#define VIRTIO_BALLOON_S_ASYNC_RECLAIM 14
#define VIRTIO_BALLOON_S_DIRECT_RECLAIM 15
#endif
#define BALLOON_STATS 16

/* Later kernels just return 0. */
#ifndef MIGRATEPAGE_SUCCESS
#define MIGRATEPAGE_SUCCESS 0
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
struct virtqueue_info {
	const char *name;
	vq_callback_t *callback;
};

static inline int balloon_find_vqs(struct virtio_device *vdev,
				   unsigned int nvqs, struct virtqueue *vqs[],
				   struct virtqueue_info infos[])
{
	vq_callback_t *callbacks[8];
	const char *names[8];
	unsigned int i;

	if (WARN_ON_ONCE(nvqs > ARRAY_SIZE(names)))
		return -EINVAL;
	for (i = 0; i < nvqs; i++) {
		callbacks[i] = infos[i].callback;
		names[i] = infos[i].name;
	}
	return virtio_find_vqs(vdev, nvqs, vqs, callbacks, names, NULL);
}
#else
static inline int balloon_find_vqs(struct virtio_device *vdev,
				   unsigned int nvqs, struct virtqueue *vqs[],
				   struct virtqueue_info infos[])
{
	return virtio_find_vqs(vdev, nvqs, vqs, infos, NULL);
}
#endif

/*
 * Before 6.2 the order that a driver registers with is taken; since then only
 * where page_reporting_order is unset, and who registers sets it. A stock driver
 * that was bound first leaves pageblock_order there. Any other value is the
 * administrator's, and stays.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
extern unsigned int page_reporting_order; /* exported, and in no header */

static inline void balloon_unset_order(unsigned int ours)
{
	if (page_reporting_order == ours)
		page_reporting_order = -1;
}
#else
static inline void balloon_unset_order(unsigned int ours)
{
}
#endif

#endif
