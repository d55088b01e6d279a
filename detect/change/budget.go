package change

import (
	"math"

	"github.com/fcnode/fcnode/detect/internal/figure"
)

// NodeARL0 is the number of arrivals between two false alarms of a site for which all
// sites of a node together alarm so many times a day for nothing. It is the same for all of
// them, h = ln(arrivals a day of the node / alarms allowed a day): a site with a
// hundredth of the node's arrivals then has a hundredth of its false alarms, and a node
// with more sites does not bother its operator more.
func NodeARL0(arrivalsADay, alarmsADay float64) float64 {
	const leastAlarms = 1e-3 // one in three years
	alarmsADay = figure.Clamp(alarmsADay, leastAlarms, math.MaxFloat64, leastAlarms)
	return figure.Clamp(arrivalsADay/alarmsADay, 10, MaxARL0, DefaultARL0)
}
