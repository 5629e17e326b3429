// SPDX-License-Identifier: GPL-2.0-only
/* The device's life: probe, remove, suspend, shutdown. */
#include <linux/crash_dump.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/poison.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <uapi/linux/virtio_ring.h>

#include "balloon.h"

enum { INFLATE, DEFLATE, STATS, HINT, REPORT, QUEUES };

/* The target or the command ID may be another one. */
static void config_changed(struct virtio_device *vdev)
{
	struct aerate_balloon *b = vdev->priv;
	unsigned long flags;

	spin_lock_irqsave(&b->work_lock, flags);
	if (!b->stopping) {
		b->retry = 0;
		mod_delayed_work(b->wq, &b->size_work, 0);
		WRITE_ONCE(b->config_changed, true);
		if (b->hint_vq)
			queue_work(b->wq, &b->round_work);
	}
	spin_unlock_irqrestore(&b->work_lock, flags);
}

/* A queue without a name is left out, and is not counted by hosts either. */
static int find_queues(struct aerate_balloon *b)
{
	struct virtqueue_info infos[QUEUES] = {
		[INFLATE] = { "inflate", balloon_acked },
		[DEFLATE] = { "deflate", balloon_acked },
	};
	struct virtqueue *vqs[QUEUES] = {};
	int err;

	if (virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_STATS_VQ))
		infos[STATS] = (struct virtqueue_info){ "stats", balloon_stats_asked };
	if (virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_FREE_PAGE_HINT))
		infos[HINT] = (struct virtqueue_info){ "free_page_vq", balloon_acked };
	if (virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_REPORTING))
		infos[REPORT] = (struct virtqueue_info){ "reporting_vq", balloon_acked };
	err = balloon_find_vqs(b->vdev, QUEUES, vqs, infos);
	if (err)
		return err;
	b->inflate_vq = vqs[INFLATE];
	b->deflate_vq = vqs[DEFLATE];
	b->stats_vq = vqs[STATS];
	b->hint_vq = vqs[HINT];
	b->report_vq = vqs[REPORT];
	if (b->stats_vq)
		err = balloon_stats_prime(b);
	if (err)
		b->vdev->config->del_vqs(b->vdev);
	return err;
}

/* What a page holds when it is free, before DRIVER_OK and never after (5.5.6.4). */
static void write_poison(struct aerate_balloon *b)
{
	u32 poison = want_init_on_free() ? 0 : PAGE_POISON * 0x01010101u;

	if (virtio_has_feature(b->vdev, VIRTIO_BALLOON_F_PAGE_POISON))
		virtio_cwrite_le(b->vdev, struct virtio_balloon_config, poison_val, &poison);
}

/* Nothing is queued from now on, and who waits for the host looks up. */
static void stop_work(struct aerate_balloon *b)
{
	spin_lock_irq(&b->work_lock);
	b->stopping = true;
	spin_unlock_irq(&b->work_lock);
	wake_up_all(&b->acked);
}

/*
 * Empties the balloon, takes the device from the host and gives its queues up.
 * If the host does not let it come to that, it loses the device as it is: then
 * no page is its any more either.
 */
static void leave(struct aerate_balloon *b)
{
	balloon_deflate_all(b);
	balloon_write_actual(b);
	cancel_delayed_work_sync(&b->give_up);
	balloon_reset(b);
	b->vdev->config->del_vqs(b->vdev);
}

/* Ends all that the device does, whatever of it has begun. */
static void quit(struct aerate_balloon *b)
{
	stop_work(b);
	queue_delayed_work(system_wq, &b->give_up, BALLOON_PATIENCE);
	balloon_oom_stop(b);
	balloon_report_stop(b);
	cancel_delayed_work_sync(&b->size_work);
	cancel_work_sync(&b->stats_work);
	leave(b);
}

static void free_balloon(struct aerate_balloon *b)
{
	if (b->wq)
		destroy_workqueue(b->wq);
	kfree(b->pfns);
	kfree(b);
}

static int probe(struct virtio_device *vdev)
{
	struct aerate_balloon *b;
	int err = -ENOMEM;

	/* What a crashed kernel left behind is to be read, not to be changed,
	 * and the one that reads it has little memory.
	 */
	if (is_kdump_kernel())
		return -ENODEV;
	if (!vdev->config->get)
		return -EINVAL;

	b = kzalloc(sizeof(*b), GFP_KERNEL);
	if (!b)
		return -ENOMEM;
	vdev->priv = b;
	b->vdev = vdev;
	init_waitqueue_head(&b->acked);
	spin_lock_init(&b->work_lock);
	INIT_DELAYED_WORK(&b->give_up, balloon_give_up);
	balloon_size_init(b);
	balloon_report_init(b);
	balloon_stats_init(b);
	b->pfns = kmalloc_array(BALLOON_BATCH, sizeof(*b->pfns), GFP_KERNEL);
	b->wq = alloc_workqueue("aerate_balloon", WQ_FREEZABLE | WQ_UNBOUND, 0);
	if (!b->pfns || !b->wq)
		goto free;

	err = find_queues(b);
	if (err)
		goto free;
	write_poison(b);
	virtio_device_ready(vdev);
	err = balloon_oom_start(b);
	if (!err)
		err = balloon_report_start(b);
	if (err) {
		quit(b);
		goto free;
	}
	config_changed(vdev); /* what was asked before this driver came */
	return 0;

free:
	free_balloon(b);
	return err;
}

static void remove(struct virtio_device *vdev)
{
	quit(vdev->priv);
	free_balloon(vdev->priv);
}

/*
 * For the next kernel, which kexec starts without a reset of the machine: the
 * host must not work on what was reported when that is in use again. What is
 * in the balloon stays there: hosts forget it when the device is reset.
 */
static void shutdown(struct device *dev)
{
	struct aerate_balloon *b = dev_to_virtio(dev)->priv;

	stop_work(b);
	balloon_reset(b);
}

#ifdef CONFIG_PM_SLEEP
/* All work is frozen by now: see pm_notify() in report.c. */
static int freeze(struct virtio_device *vdev)
{
	struct aerate_balloon *b = vdev->priv;

	stop_work(b);
	queue_delayed_work(system_wq, &b->give_up, BALLOON_PATIENCE);
	leave(b);
	return 0;
}

static int restore(struct virtio_device *vdev)
{
	struct aerate_balloon *b = vdev->priv;
	int err;

	WRITE_ONCE(b->gone, false);
	err = find_queues(b);
	if (err) {
		WRITE_ONCE(b->gone, true);
		return err;
	}
	write_poison(b);
	virtio_device_ready(vdev);
	b->round_id = VIRTIO_BALLOON_CMD_ID_STOP; /* a host that was restarted counts anew */
	spin_lock_irq(&b->work_lock);
	b->stopping = false;
	spin_unlock_irq(&b->work_lock);
	config_changed(vdev);
	return 0;
}
#endif

static int validate(struct virtio_device *vdev)
{
	/* With neither, what a page holds is of no concern; with poison, a host
	 * that does not know of it would have the kernel find other content.
	 */
	if (!want_init_on_free() && !page_poisoning_enabled_static())
		__virtio_clear_bit(vdev, VIRTIO_BALLOON_F_PAGE_POISON);
	else if (!virtio_has_feature(vdev, VIRTIO_BALLOON_F_PAGE_POISON))
		__virtio_clear_bit(vdev, VIRTIO_BALLOON_F_REPORTING);

	/* Buffers are handed over where there may be no memory: none is
	 * allocated for their descriptors.
	 */
	__virtio_clear_bit(vdev, VIRTIO_RING_F_INDIRECT_DESC);
	/* PFNs are the guest's own, whatever translates for other devices. */
	__virtio_clear_bit(vdev, VIRTIO_F_ACCESS_PLATFORM);
	return 0;
}

static const unsigned int features[] = {
	VIRTIO_BALLOON_F_MUST_TELL_HOST,
	VIRTIO_BALLOON_F_STATS_VQ,
	VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
	VIRTIO_BALLOON_F_FREE_PAGE_HINT,
	VIRTIO_BALLOON_F_PAGE_POISON,
	VIRTIO_BALLOON_F_REPORTING,
};

static const struct virtio_device_id id_table[] = {
	{ VIRTIO_ID_BALLOON, VIRTIO_DEV_ANY_ID },
	{ 0 },
};

static struct virtio_driver balloon_driver = {
	.feature_table = features,
	.feature_table_size = ARRAY_SIZE(features),
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.driver.shutdown = shutdown,
	.id_table = id_table,
	.validate = validate,
	.probe = probe,
	.remove = remove,
	.config_changed = config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze = freeze,
	.restore = restore,
#endif
};

module_virtio_driver(balloon_driver);
MODULE_DEVICE_TABLE(virtio, id_table);
MODULE_DESCRIPTION("Virtio balloon that reports free memory when the host asks for it");
MODULE_AUTHOR("Aerate developers");
MODULE_LICENSE("GPL");
