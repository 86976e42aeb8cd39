%%% MD5 of object code, against beam_lib and against the loaded modules.
-module(bc_gitops_native_beam_tests).
-include_lib("eunit/include/eunit.hrl").

%% Every object file of the installed OTP and Elixir.
every_installed_file_agrees_with_beam_lib_test_() ->
    {timeout, 120, fun() ->
        Dirs = installed_ebin_dirs(),
        {ok, Found} = bc_gitops_native:beam_scan(Dirs),
        ?assert(length(Found) > 500),
        Files = [F || D <- Dirs, F <- filelib:wildcard(binary_to_list(D) ++ "/*.beam")],
        ?assertEqual(length(Files), length(Found)),
        [?assertEqual({Path, expected(Path)}, {Path, {Module, MD5}}) || {Module, Path, MD5} <- Found]
    end}.

%% What is read of every object file of the installed OTP and Elixir.
every_installed_file_says_what_beam_lib_reads_test_() ->
    {timeout, 300, fun() ->
        Files = [F || D <- installed_ebin_dirs(), F <- filelib:wildcard(binary_to_list(D) ++ "/*.beam")],
        ?assert(length(Files) > 500),
        Infos = [info(unicode:characters_to_binary(F)) || F <- Files],
        [?assertEqual({F, expected_info(F)}, {F, Info}) || {F, Info} <- lists:zip(Files, Infos)],
        Servers = [M || #{module := M, behaviours := B} <- Infos, lists:member(<<"gen_server">>, B)],
        ?assert(lists:member(<<"kernel_config">>, Servers)),
        Nifs = [M || #{module := M, nif := true} <- Infos],
        ?assert(lists:member(<<"crypto">>, Nifs))
    end}.

%% OTP's own `strip' takes the attributes out and packs what is left.
a_stripped_or_compressed_file_says_the_same_of_its_code_test() ->
    {ok, Bytes} = file:read_file(code:which(a_server())),
    bct_dir:with("beam", fun(Dir) ->
        Whole = info_of(Dir, Bytes),
        ?assertEqual([<<"gen_server">>], maps:get(behaviours, Whole)),
        ?assertEqual(Whole, info_of(Dir, zlib:gzip(Bytes))),
        {ok, {_, Stripped}} = beam_lib:strip(Bytes),
        Expected = Whole#{behaviours := [], stripped := true, vsn := undefined},
        ?assertEqual(Expected, info_of(Dir, Stripped)),
        ?assertEqual(Expected, info_of(Dir, zlib:gunzip(Stripped)))
    end).

a_server() -> bc_gitops_reconciler.

loaded_modules_have_the_same_md5_test() ->
    Modules = [lists, gen_server, application_controller, ?MODULE],
    [begin
         Path = unicode:characters_to_binary(code:which(M)),
         ?assertEqual({ok, M:module_info(md5)}, bc_gitops_native:beam_md5(Path))
     end || M <- Modules].

files_are_scanned_too_test() ->
    Path = unicode:characters_to_binary(code:which(lists)),
    ?assertEqual({ok, [{<<"lists">>, Path, lists:module_info(md5)}]},
                 bc_gitops_native:beam_scan([Path])),
    ?assertMatch({error, {not_found, #{path := <<"/no/such.beam">>}}},
                 bc_gitops_native:beam_scan([<<"/no/such.beam">>])).

compressed_and_stripped_files_have_the_same_md5_test() ->
    bct_dir:with("beam", fun(Dir) ->
        {ok, Bytes} = file:read_file(code:which(lists)),
        {ok, {lists, Stripped}} = beam_lib:strip(Bytes),
        {ok, {lists, MD5}} = beam_lib:md5(Bytes),
        [?assertEqual({ok, MD5}, md5_of(Dir, B)) || B <- [Bytes, zlib:gzip(Bytes), Stripped]]
    end).

a_module_with_a_name_in_unicode_test() ->
    Name = binary_to_atom(<<"møte"/utf8>>, utf8),
    {ok, Name, Bytes} = compile:forms([{attribute, 1, module, Name}], []),
    bct_dir:with("beam", fun(Dir) ->
        Path = filename:join(Dir, <<"møte.beam"/utf8>>),
        ok = file:write_file(Path, Bytes),
        {ok, {Name, MD5}} = beam_lib:md5(Bytes),
        ?assertEqual({ok, [{<<"møte"/utf8>>, Path, MD5}]}, bc_gitops_native:beam_scan([Dir]))
    end).

what_is_no_beam_file_is_named_test() ->
    bct_dir:with("beam", fun(Dir) ->
        ?assertMatch({error, {not_beam, #{message := _, path := _}}}, md5_of(Dir, <<"text">>)),
        ?assertMatch({error, {not_beam, _}}, md5_of(Dir, <<>>)),
        ?assertMatch({error, {io, _}}, md5_of(Dir, <<16#1f, 16#8b, 0>>)),
        ?assertMatch({error, {not_a_file, _}}, bc_gitops_native:beam_md5(Dir)),
        ?assertMatch({error, {not_a_file, _}}, bc_gitops_native:beam_md5(<<"/dev/zero">>)),
        ?assertMatch({error, {not_found, _}},
                     bc_gitops_native:beam_md5(filename:join(Dir, <<"none.beam">>))),
        ?assertMatch({error, {not_found, _}}, bc_gitops_native:beam_scan([<<"/no/such">>])),
        ?assertMatch({error, {io, _}}, bc_gitops_native:beam_md5(<<"nul", 0, "byte">>)),
        ?assertError(badarg, bc_gitops_native:beam_md5("string"))
    end).

%% Whatever a broken file holds, it is refused or has beam_lib's digest; the VM goes on.
mutated_files_are_refused_or_agree_test_() ->
    {timeout, 120, fun() ->
        {ok, Bytes} = file:read_file(code:which(orddict)),
        _ = rand:seed(exsss, {2026, 11, 21}),
        bct_dir:with("beam", fun(Dir) ->
            [agrees(md5_of(Dir, mutated(Bytes)), Dir) || _ <- lists:seq(1, 2000)]
        end)
    end}.

agrees({error, {Kind, #{message := _}}}, _Dir) when is_atom(Kind) ->
    ok;
agrees({ok, MD5}, Dir) ->
    {ok, Bytes} = file:read_file(filename:join(Dir, "x.beam")),
    case catch beam_lib:md5(Bytes) of
        {ok, {_Module, Expected}} -> ?assertEqual(Expected, MD5);
        _BeamLibRefusesMore -> ok
    end.

mutated(Bytes) ->
    At = rand:uniform(byte_size(Bytes)) - 1,
    <<Before:At/binary, _, After/binary>> = Bytes,
    case rand:uniform(5) of
        1 -> Before;
        2 -> <<Before/binary, (rand:uniform(256) - 1), After/binary>>;
        3 -> <<Before/binary, After/binary>>;
        4 -> <<Before/binary, (rand:bytes(rand:uniform(64)))/binary, After/binary>>;
        5 -> early_byte(Bytes)
    end.

%% Most sizes stand early in the file.
early_byte(Bytes) ->
    At = rand:uniform(200) - 1,
    <<Before:At/binary, _, After/binary>> = Bytes,
    <<Before/binary, (rand:uniform(256) - 1), After/binary>>.

md5_of(Dir, Bytes) ->
    Path = filename:join(Dir, <<"x.beam">>),
    ok = file:write_file(Path, Bytes),
    bc_gitops_native:beam_md5(Path).

info_of(Dir, Bytes) ->
    Path = filename:join(Dir, <<"x.beam">>),
    ok = file:write_file(Path, Bytes),
    info(Path).

%% Its version as a term: there are several ways to write an atom down.
info(Path) ->
    {ok, #{vsn := Vsn} = Info} = bc_gitops_native:beam_info(Path),
    Info#{vsn := case Vsn of undefined -> undefined; _ -> binary_to_term(Vsn) end}.

expected_info(File) ->
    {ok, {Module, Read}} = beam_lib:chunks(File, [exports, imports]),
    [{exports, Exports}, {imports, Imports}] = Read,
    {Module, MD5} = element(2, beam_lib:md5(File)),
    Attributes = attributes(File),
    Named = [B || {Key, Value} <- Attributes, Key =:= behaviour orelse Key =:= behavior, B <- Value],
    #{module => atom_to_binary(Module),
      md5 => MD5,
      exports => lists:sort([{atom_to_binary(F), A} || {F, A} <- Exports]),
      imports => lists:usort([atom_to_binary(M) || {M, _, _} <- Imports]),
      nif => lists:member({erlang, load_nif, 2}, Imports),
      behaviours => lists:usort([atom_to_binary(B) || B <- Named]),
      stripped => Attributes =:= [],
      vsn => case lists:keyfind(vsn, 1, Attributes) of
          {vsn, Vsn} -> Vsn;
          false -> undefined
      end}.

attributes(File) ->
    case beam_lib:chunks(File, [attributes]) of
        {ok, {_, [{attributes, Attributes}]}} -> Attributes;
        {error, beam_lib, {missing_chunk, _, _}} -> []
    end.

expected(Path) ->
    {ok, {Module, MD5}} = beam_lib:md5(unicode:characters_to_list(Path)),
    {atom_to_binary(Module), MD5}.

installed_ebin_dirs() ->
    Otp = filelib:wildcard(filename:join(code:lib_dir(), "*/ebin")),
    Elixir = filelib:wildcard("/usr/lib/elixir/lib/*/ebin"),
    [unicode:characters_to_binary(D) || D <- Otp ++ Elixir].
