package node

// setTrigger tells the kernel what to watch of a site. The caller holds e.mu.
func (n *Node) setTrigger(*entry) {}

// removeTrigger ends that. The caller holds e.mu.
func (n *Node) removeTrigger(*entry) {}
