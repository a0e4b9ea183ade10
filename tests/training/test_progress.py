"""Progress: a function that is called by one thread at a time."""

import threading

from headwater.training.progress import shown


def test_a_function_is_called_by_one_thread_at_a_time():
    inside, most, calls = 0, 0, 0

    def slow(_task, _done, _total):
        nonlocal inside, most, calls
        inside, calls = inside + 1, calls + 1
        most = max(most, inside)
        threading.Event().wait(0.001)
        inside -= 1

    with shown(slow) as said:
        threads = [threading.Thread(target=said, args=("view", 1, 2)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (most, calls) == (1, 20)
