// SPDX-License-Identifier: GPL-2.0-only
/* Hands buffers to the host and waits for them: the only place that does. */
#include "balloon.h"

/* After how long a host that has not answered may have missed the notification. */
#define TELL_AGAIN (HZ / 2)

void balloon_acked(struct virtqueue *vq)
{
	struct aerate_balloon *b = vq->vdev->priv;

	wake_up_all(&b->acked);
}

static unsigned int collect(struct virtqueue *vq)
{
	unsigned int len, count = 0;

	while (virtqueue_get_buf(vq, &len))
		count++;
	return count;
}

/*
 * Adds @count buffers by @add, as many at a time as the ring takes, and waits
 * until the host has used all of them. Fails with -ENODEV if the host is not
 * reached any more, and with what @add fails with; even then no buffer is the
 * host's when this returns. One caller a queue at a time.
 */
int balloon_exchange(struct aerate_balloon *b, struct virtqueue *vq,
		     unsigned int count, balloon_add_t *add, void *data)
{
	unsigned int sent = 0, used = 0, more;
	int err = 0;

	while (used < count) {
		if (balloon_unreachable(b, vq))
			return -ENODEV;
		while (sent < count && !err) {
			err = add(b, vq, sent, data);
			if (!err)
				sent++;
		}
		if (err == -ENOSPC && sent > used)
			err = 0; /* there is room when some have come back */
		if (sent == used)
			return err; /* nothing to wait for */
		if (err)
			count = sent;
		virtqueue_kick(vq);
		/*
		 * QEMU 7.2 turns the notifications of the hint queue on again
		 * without looking whether something has come meanwhile
		 * (virtio_ballloon_get_free_page_hints): it is told again.
		 * Idle, since a host that is slow is no reason for a warning.
		 */
		while (!wait_event_idle_timeout(b->acked,
						(more = collect(vq)) ||
							balloon_unreachable(b, vq),
						TELL_AGAIN))
			virtqueue_notify(vq);
		if (!more)
			return -ENODEV;
		used += more;
		if (READ_ONCE(b->stopping)) /* a host that answers has time */
			mod_delayed_work(system_wq, &b->give_up, BALLOON_PATIENCE);
	}
	return err;
}

/*
 * Takes the device from the host: when this returns, the host has forgotten
 * all buffers, and whoever waited for one goes on.
 */
void balloon_reset(struct aerate_balloon *b)
{
	if (READ_ONCE(b->gone))
		return;
	virtio_reset_device(b->vdev);
	WRITE_ONCE(b->gone, true);
	wake_up_all(&b->acked);
}

void balloon_give_up(struct work_struct *work)
{
	struct aerate_balloon *b = container_of(to_delayed_work(work),
						struct aerate_balloon, give_up);

	if (READ_ONCE(b->gone))
		return;
	dev_warn(&b->vdev->dev, "the host does not answer; resetting the device\n");
	balloon_reset(b);
}
