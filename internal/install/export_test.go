package install

import "context"

// Quote, Parse and Render write and read settings.
func Quote(value string) string { return quote(value) }

func Parse(text string) map[string]string { return parse(text) }

func Render(settings []Setting) string { return render(settings) }

// CheckVersion reads what ctr version wrote.
func CheckVersion(text string) error { return checkVersion(text) }

// CheckContainers looks for what containers need.
func CheckContainers(ctx context.Context, socket string) []error { return checkContainers(ctx, socket) }
