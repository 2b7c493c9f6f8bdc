package registry

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/sirupsen/logrus"
)

// bridgeLog hands what the registry library logs to log. The library offers no
// other way than logrus' standard logger, which belongs to the process: with
// several registries the last one made receives the messages of all.
func bridgeLog(log *slog.Logger) {
	standard := logrus.StandardLogger()
	standard.SetOutput(io.Discard)
	standard.SetLevel(logrus.WarnLevel)
	hooks := make(logrus.LevelHooks)
	hooks.Add(&logHook{log: log})
	standard.ReplaceHooks(hooks)
}

type logHook struct{ log *slog.Logger }

func (*logHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook. The library calls every refused request an
// error; only those that are a fault of the server are one to its owner.
func (h *logHook) Fire(entry *logrus.Entry) error {
	level := slog.LevelDebug
	code, isAnswer := entry.Data["err.code"]
	switch {
	case isAnswer && fmt.Sprint(code) != "unknown":
	case entry.Level <= logrus.ErrorLevel:
		level = slog.LevelError
	case entry.Level == logrus.WarnLevel:
		level = slog.LevelWarn
	}
	var attributes []any
	for _, name := range []string{"http.request.method", "http.request.uri", "err.message", "err.detail", logrus.ErrorKey} {
		if value, ok := entry.Data[name]; ok {
			attributes = append(attributes, name, value)
		}
	}
	h.log.Log(entry.Context, level, "registry: "+entry.Message, attributes...)
	return nil
}
