package corrections

import (
	"fmt"
	"time"

	"github.com/tungstene/tungstene/pkg/charity/money"
)

// say writes evidence in both languages: the arguments are money (int64 cents), times, channels (name)
// and counts (int), as each writes them.
func (d Detector) say(en, fr string, args ...any) map[string]string {
	write := func(language, format, clock string) string {
		list := make([]any, len(args))
		for i, a := range args {
			switch v := a.(type) {
			case int64:
				list[i] = money.Format(v, d.Currency, language)
			case time.Time:
				list[i] = v.In(d.Zone).Format(clock)
			default:
				list[i] = a
			}
		}
		return fmt.Sprintf(format, list...)
	}
	return map[string]string{
		money.English: write(money.English, en, "15:04:05 on 2 Jan"),
		money.French:  write(money.French, fr, "15:04:05 le 02/01"),
	}
}

func (d Detector) sayMirror(s Suspicion, samples int) map[string]string {
	return d.say(
		"At %[1]s the total of %[2]s went from %[3]s to %[4]s, exactly the total of %[5]s, and equalled it at %[6]d samples.",
		"À %[1]s, le total de %[2]s est passé de %[3]s à %[4]s, exactement celui de %[5]s, et lui est resté égal sur %[6]d relevés.",
		s.Time, d.Name(s.Channel), s.Before, s.After, d.Name(s.Other), samples)
}

func (d Detector) sayShared(s Suspicion) map[string]string {
	return d.say(
		"Since %[1]s, its first sample, the total of %[2]s has moved with that of %[3]s: it is a mirror, or they share one fund.",
		"Depuis %[1]s, son premier relevé, le total de %[2]s évolue avec celui de %[3]s : c'est une copie, ou ils partagent une même cagnotte.",
		s.Time, d.Name(s.Channel), d.Name(s.Other))
}

func (d Detector) sayReset(s Suspicion) map[string]string {
	return d.say(
		"At %[1]s the total of %[2]s fell from %[3]s to %[4]s and did not come back: the source began anew.",
		"À %[1]s, le total de %[2]s est tombé de %[3]s à %[4]s sans remonter : la source est repartie de zéro.",
		s.Time, d.Name(s.Channel), s.Before, s.After)
}

func (d Detector) sayDip(s Suspicion) map[string]string {
	return d.say(
		"At %[1]s the total of %[2]s fell from %[3]s to %[4]s, and came back in one step at %[5]s.",
		"À %[1]s, le total de %[2]s est tombé de %[3]s à %[4]s, puis est remonté d'un coup à %[5]s.",
		s.Time, d.Name(s.Channel), s.Before, s.After, s.To)
}

func (d Detector) sayTwice(s Suspicion) map[string]string {
	return d.say(
		"At %[1]s the total of %[2]s went from %[3]s to %[4]s: exactly twice as much in one step.",
		"À %[1]s, le total de %[2]s est passé de %[3]s à %[4]s : exactement le double d'un coup.",
		s.Time, d.Name(s.Channel), s.Before, s.After)
}

func (d Detector) sayEarlierTotal(s Suspicion, was time.Time) map[string]string {
	return d.say(
		"At %[1]s the total of %[2]s grew by %[3]s in one step: exactly what the whole total was at %[4]s.",
		"À %[1]s, le total de %[2]s a gagné %[3]s d'un coup : exactement le total entier tel qu'il était à %[4]s.",
		s.Time, d.Name(s.Channel), s.After-s.Before, was)
}

func (d Detector) sayEarlierStep(s Suspicion, was time.Time) map[string]string {
	return d.say(
		"At %[1]s the total of %[2]s grew by %[3]s in one step: to the cent what it had grown by at %[4]s.",
		"À %[1]s, le total de %[2]s a gagné %[3]s d'un coup : au centime près ce qu'il avait gagné à %[4]s.",
		s.Time, d.Name(s.Channel), s.After-s.Before, was)
}

func (d Detector) sayHalf(s Suspicion, above int64) map[string]string {
	return d.say(
		"At %[1]s the total of %[2]s grew by %[3]s in one step, but the single donations of that time add up to %[4]s: about half.",
		"À %[1]s, le total de %[2]s a gagné %[3]s d'un coup, mais les dons de ce moment font %[4]s : environ la moitié.",
		s.Time, d.Name(s.Channel), s.After-s.Before, s.After-s.Before-above)
}

func (d Detector) sayJump(s Suspicion, usual int64) map[string]string {
	return d.say(
		"At %[1]s the total of %[2]s grew by %[3]s in one step; when it grows, it is by about %[4]s a minute. It may be a large gift.",
		"À %[1]s, le total de %[2]s a gagné %[3]s d'un coup ; d'ordinaire il gagne environ %[4]s par minute. C'est peut-être un gros don.",
		s.Time, d.Name(s.Channel), s.After-s.Before, usual)
}
