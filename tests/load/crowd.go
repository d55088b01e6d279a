package load

import "time"

// worldCup is the evening of 7 July 1998 (a semi-final) at the web site of the football
// World Cup, from 18:00: requests in five minutes, in thousands. From the Internet Traffic
// Archive, as counted in nimamahmoudi/worldcup98-dataset (MIT).
var worldCup = [...]float64{
	110, 111, 114, 113, 118, 119, 119, 121, 127, 133, 147, 183,
	253, 319, 371, 420, 457, 488, 509, 535, 566, 599, 596, 578,
	605, 628, 644, 639, 651, 671, 684, 710, 751, 834, 867, 821,
	788, 796, 827, 830, 866, 890, 944, 1028, 1106, 769, 576, 481,
	420, 378, 311, 275, 260, 245, 231, 220, 209, 135, 122, 112,
	107, 102, 97, 97, 92, 91, 94, 93, 91, 90, 87, 93,
}

// FlashCrowd is the shape of that evening, drawn together to a length: it begins at a rate,
// rises to ten times as much by three fifths of the time, and has fallen back by four fifths.
func FlashCrowd(begin float64, length time.Duration) Shape {
	scale := begin / worldCup[0]
	return func(at time.Duration) float64 {
		if at < 0 || at >= length {
			return 0
		}
		x := float64(at) / float64(length) * float64(len(worldCup)-1)
		i := int(x)
		return scale * (worldCup[i] + (x-float64(i))*(worldCup[i+1]-worldCup[i]))
	}
}
