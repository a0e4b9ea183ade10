"""Whether real time is right for a project: how ready it is, what each way of serving costs, and where each number is from."""
