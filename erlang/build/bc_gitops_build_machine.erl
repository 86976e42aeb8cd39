%%% @doc Whether the shared objects that came with libraries are for this machine. What was built
%%% elsewhere may hold others, and loading one would be the first to tell.
-module(bc_gitops_build_machine).

-export([check/1]).

%% e_machine of ELF files (System V ABI, and its supplements), as far as Erlang runs there.
-define(MACHINES, #{3 => "x86", 21 => "ppc64", 22 => "s390x", 40 => "arm", 62 => "x86_64",
                    183 => "aarch64", 243 => "riscv64"}).

%% @doc The first shared object in `priv' that this VM cannot load, if there is one.
-spec check([bc_gitops_build_app:app()]) -> ok | {error, {wrong_architecture, map()}}.
check(Apps) ->
    case header(emulator()) of
        {elf, Own} -> first([{App, File, Other} || #{name := App, dir := Dir} <- Apps, File <- objects(Dir),
                                                   {elf, Other} <- [header(File)], Other =/= Own], Own);
        other -> ok
    end.

first([], _Own) ->
    ok;
first([{App, File, Other} | _], Own) ->
    Name = unicode:characters_to_binary(filename:basename(File)),
    Message = io_lib:format("~s brings ~ts for ~s, and this machine is ~s; make it for this machine",
                            [App, Name, machine(Other), machine(Own)]),
    {error, {wrong_architecture, #{
        app => App, file => Name, found => machine(Other), needed => machine(Own),
        message => unicode:characters_to_binary(Message)
    }}}.

objects(Dir) ->
    [filename:join([Dir, "priv", File]) || File <- filelib:wildcard("**/*.so", filename:join(Dir, "priv"))].

emulator() ->
    filename:join([code:root_dir(), "erts-" ++ erlang:system_info(version), "bin", "beam.smp"]).

header(File) ->
    case file:open(File, [read, raw, binary]) of
        {ok, Device} ->
            Read = file:read(Device, 20),
            ok = file:close(Device),
            elf(Read);
        {error, _} ->
            other
    end.

elf({ok, <<16#7f, "ELF", Class, 1, _:10/binary, _Type:16, Machine:16/little>>}) -> {elf, {Class, Machine}};
elf({ok, <<16#7f, "ELF", Class, 2, _:10/binary, _Type:16, Machine:16/big>>}) -> {elf, {Class, Machine}};
elf(_) -> other.

machine({_Class, Number}) ->
    list_to_binary(maps:get(Number, ?MACHINES, "machine " ++ integer_to_list(Number))).
