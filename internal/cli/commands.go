package cli

import "github.com/spf13/cobra"

// commands are all commands, in the order of a function's life.
func (p *program) commands() []*cobra.Command {
	return []*cobra.Command{
		p.serveCommand(),
		p.devCommand(),
		p.newCommand(),
		p.buildCommand(),
		p.pushCommand(),
		p.deployCommand(),
		p.upCommand(),
		p.invokeCommand(),
		p.queueCommand(),
		p.listCommand(),
		p.describeCommand(),
		p.logsCommand(),
		p.readyCommand(),
		p.scaleCommand(),
		p.simulateCommand(),
		p.removeCommand(),
		p.secretCommand(),
		p.namespaceCommand(),
		p.templateCommand(),
		p.loginCommand(),
		p.logoutCommand(),
		p.versionCommand(),
		p.installCommand(),
		p.uninstallCommand(),
		p.completionCommand(),
	}
}
